//! Whether what is sent arrives: said when that changes, and once an hour while it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use ultrasimple_core::Clock;

/// While it lasts, an outage is told again after so long.
const AGAIN: Duration = Duration::from_hours(1);

#[derive(Debug)]
pub(super) struct Reach {
    /// What is sent, as a line in the log begins.
    what: &'static str,
    clock: Arc<dyn Clock>,
    outage: Mutex<Option<Outage>>,
    /// Why the last request failed, if it did.
    failure: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Outage {
    told: Duration,
    lost: u64,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Lost(u64),
    Back(u64),
    Nothing,
}

impl Reach {
    pub(super) fn new(what: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self { what, clock, outage: Mutex::default(), failure: Mutex::default() }
    }

    /// Says how a request ended, if that is news. The SDK's own lines, one or more for each failure, are off unless
    /// `RUST_LOG` says otherwise.
    pub(super) fn tell(&self, ended: OTelSdkResult) -> OTelSdkResult {
        let what = self.what;
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
            ended.as_ref().err().map(ToString::to_string);
        match (self.news(ended.is_ok()), &ended) {
            (News::Lost(requests), Err(error)) => tracing::warn!(
                %error, requests,
                "{what} cannot be sent to the collector, and are dropped: {error}"
            ),
            (News::Back(requests), _) => {
                tracing::info!(requests, "{what} reach the collector again");
            }
            _ => {}
        }
        ended
    }

    /// Why the last request failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn news(&self, has_arrived: bool) -> News {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if has_arrived {
            return outage.take().map_or(News::Nothing, |outage| News::Back(outage.lost));
        }
        let now = self.clock.monotonic();
        match &mut *outage {
            None => {
                *outage = Some(Outage { told: now, lost: 1 });
                News::Lost(1)
            }
            Some(Outage { told, lost }) => {
                *lost += 1;
                if now.saturating_sub(*told) < AGAIN {
                    return News::Nothing;
                }
                *told = now;
                News::Lost(*lost)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ultrasimple_core::Timestamp;

    /// A minute with each look.
    #[derive(Debug, Default)]
    struct Minutes(Mutex<u64>);

    impl Clock for Minutes {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            let mut minutes = self.0.lock().unwrap();
            *minutes += 1;
            Duration::from_mins(*minutes)
        }
    }

    #[test]
    fn an_outage_is_told_when_it_begins_hourly_and_when_it_ends() {
        let reach = Reach::new("", Arc::new(Minutes::default()));
        assert_eq!(reach.news(true), News::Nothing);
        let told: Vec<_> = (1..=150).map(|_| reach.news(false)).collect();
        let told: Vec<_> = told.iter().filter(|news| **news != News::Nothing).collect();
        assert_eq!(told, [&News::Lost(1), &News::Lost(61), &News::Lost(121)]);
        assert_eq!(reach.news(true), News::Back(150));
        assert_eq!(reach.news(true), News::Nothing);
        assert_eq!(reach.news(false), News::Lost(1));
    }
}
