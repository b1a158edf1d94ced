//! `-put-budget`: how many requests a month may be sent that cost what a PUT costs. A rule without I/O.
//!
//! A token bucket that is paid by what the store has really counted: uploads, the steps of those in parts,
//! second attempts, listings, catalogs, whoever in this process sent them. What an upload will cost is known
//! only when it has ended; so one token is put aside for each in flight, what it cost more is owed, and
//! nothing begins until that is paid back.
//!
//! The budget is cut into [`SHARES`] days' worth. Thirty are handed out evenly, one each day. One is the
//! most that can be saved up for a burst, and what a bucket's first start begins with. One is never handed
//! out: it is there for what is owed when a month ends. So any 30 days stay within the budget, as long as
//! what is owed at their end is not more than that.
//!
//! A restart has forgotten what was spent and saved. It begins with an hour's worth, so that a daemon
//! that restarts often does not live on fresh starts.

use std::time::Duration;

/// What a budget is for.
pub(crate) const MONTH: Duration = Duration::from_hours(30 * 24);
/// Days' worth in a budget: 30 are handed out, one may be saved up, one is kept for what is owed.
const SHARES: f64 = 32.0;
/// A computed wait that is rounded down to nothing would be no wait.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// See the module. By default there is no limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct PutBudget {
    /// None: no limit, only counted.
    bucket: Option<Bucket>,
    /// Requests that the store has counted.
    counted: u64,
    /// Uploads that sent something: all there is to go by with a store that does not count.
    uploads: u64,
    /// The greater of the two.
    spent: u64,
}

#[derive(Debug, Clone)]
struct Bucket {
    /// Tokens a second.
    rate: f64,
    capacity: f64,
    /// Negative: owed.
    tokens: f64,
    at: Duration,
}

/// Whether a bucket has been written to before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// The first start: there is all to be backed up, and nothing was spent.
    First,
    /// Any later one.
    Again,
}

impl PutBudget {
    /// `per_month` requests in any 30 days from `now` (monotonic clock) on. What the store has `counted`
    /// already, by its probe for one, is paid for out of what the start gives.
    pub(crate) fn new(per_month: Option<u64>, begin: Begin, counted: u64, now: Duration) -> Self {
        let bucket = per_month.map(|per_month| Bucket::new(per_month, begin, counted, now));
        Self { bucket, counted, uploads: counted, spent: counted }
    }

    /// Takes in what the store has counted by `now`.
    pub(crate) fn meter(&mut self, counted: u64, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
        self.counted = self.counted.max(counted);
        self.charge();
    }

    /// An upload has ended that sent something. To be told after [`Self::meter`].
    pub(crate) fn sent(&mut self) {
        self.uploads += 1;
        self.charge();
    }

    fn charge(&mut self) {
        let spent = self.counted.max(self.uploads);
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= tokens(spent - self.spent);
        }
        self.spent = spent;
    }

    /// Requests paid for so far.
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Whether an upload may begin beside those `in_flight`; else how long until it may, should none of
    /// those end before. As of the last [`Self::meter`].
    pub(crate) fn ready(&self, in_flight: usize) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let missing = 1.0 + tokens(in_flight as u64) - bucket.tokens;
        if missing <= 0.0 {
            return Ok(());
        }
        let wait = Duration::try_from_secs_f64(missing / bucket.rate).unwrap_or(MONTH);
        Err(wait.clamp(LEAST_WAIT, MONTH))
    }
}

impl Bucket {
    fn new(per_month: u64, begin: Begin, counted: u64, now: Duration) -> Self {
        let budget = tokens(per_month);
        let day = budget / SHARES;
        // The smallest budgets, too, allow an upload now and then.
        let capacity = day.max(1.0);
        let rate = (budget + 1.0 - day - capacity) / MONTH.as_secs_f64();
        let start = match begin {
            Begin::First => capacity,
            Begin::Again => day / 24.0,
        };
        Self { rate, capacity, tokens: (start - tokens(counted)).max(0.0), at: now }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.capacity);
        self.at = self.at.max(now);
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 requests are out of reach")]
fn tokens(requests: u64) -> f64 {
    requests as f64
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
