//! What becomes of a capture: the bucket has it already, or it is put there.
//!
//! Owns what is concluded from the last backup that the owner knows, and from what the bucket shows where the
//! owner cannot be sure. Does not know how captures are taken.

use ultrasimple_core::catalog::{Newest, StoredBackup};
use ultrasimple_core::key::KeyStem;
use ultrasimple_core::{CheckResult, Clock, Footer, Hour};
use ultrasimple_store::{ETag, FetchError, Store, inventory};
use ultrasimple_trace::catalogue::{PUT, SENT};
use ultrasimple_trace::child;

use super::put::{self, Put, PutError};
use super::{Attempt, Prepared, Stop};
use crate::conflict::is_same_state;
use crate::shard::{Failure, Known, Outcome};
use crate::statistics::Counters;

/// A capture of one database on its way.
pub(crate) struct Sending<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) counters: &'a Counters,
    pub(crate) stem: &'a KeyStem,
    /// What the owner knows of the newest backup.
    pub(crate) known: Known,
}

/// What the newest backup in the bucket is, where the owner cannot be sure.
enum Before {
    /// None, or of another state.
    Other,
    /// Of this very state.
    Same(StoredBackup),
    /// That of a later owner.
    Later(Box<Footer>),
}

/// The object that a capture is to become.
pub(super) fn put_of<'a>(
    store: &'a dyn Store,
    stem: &KeyStem,
    prepared: &Prepared,
    expected: Option<ETag>,
) -> Put<'a> {
    let hour = Hour::of(prepared.fields.captured_at);
    Put {
        store,
        key: stem.at(hour).object_key(),
        fields: prepared.fields.clone(),
        content: prepared.content,
        expected,
        must_write: false,
    }
}

impl Sending<'_> {
    /// Sends it, unless it is there.
    ///
    /// # Errors
    /// When this node was found to be fenced off.
    pub(crate) async fn run(self, prepared: Prepared) -> Result<Attempt, Stop> {
        if let Some(doubted) = self.known.doubted {
            // What was on its way may still arrive. It does no harm once its place is taken, under an hour that is
            // no earlier.
            let captured_at = prepared.fields.captured_at;
            if Hour::of(captured_at) < doubted {
                let failure = put::clock_set_back(doubted, captured_at);
                return Ok(Attempt::unsent(Outcome::Failed(failure)));
            }
        }
        match self.stored_before(&prepared).await {
            Ok(Before::Same(backup)) if self.known.doubted.is_none() => {
                Ok(self.adopt(&prepared, backup))
            }
            Ok(Before::Same(_) | Before::Other) => self.put(prepared).await,
            Ok(Before::Later(footer)) => Err(Stop::Fenced(*footer)),
            Err(failure) => Ok(Attempt::unsent(Outcome::Failed(failure))),
        }
    }

    async fn put(self, prepared: Prepared) -> Result<Attempt, Stop> {
        let Self { store, clock, counters, stem, known: Known { last, doubted, .. } } = self;
        let hour = Hour::of(prepared.fields.captured_at);
        let damage: Option<Box<str>> = match &prepared.fields.check {
            CheckResult::Failed(found) => Some(found.as_str().into()),
            _ => None,
        };
        if let Some(last) = last.as_ref().filter(|last| last.hour > hour) {
            let failure = put::clock_set_back(last.hour, prepared.fields.captured_at);
            return Ok(Attempt::unsent(Outcome::Failed(failure)));
        }
        let here = last.filter(|last| last.hour == hour);
        if damage.is_some() && here.as_ref().is_some_and(|last| last.damage.is_none()) {
            let failure = put::would_replace_good(damage.as_deref());
            return Ok(Attempt::unsent(Outcome::Failed(failure)));
        }
        let mut put = put_of(store, stem, &prepared, here.map(|last| last.etag));
        put.must_write = doubted.is_some();
        let Prepared { digest, settled, body, .. } = prepared;
        let mut span = child(&PUT);
        span.object(store.location(), &put.key);
        let done = span.within(put.run(body)).await;
        match &done {
            Ok(done) => span.set(&SENT, done.sent_bytes),
            Err(PutError::Failed(failure) | PutError::Doubtful(failure)) => {
                span.fail(failure.kind, &failure.reason);
            }
            Err(PutError::Fenced(_)) => {
                span.fail("fenced", &"the bucket has a backup of a later owner");
            }
        }
        drop(span);
        let backup = match done {
            Ok(done) => {
                match done.sent_bytes {
                    0 => counters.unchanged(),
                    bytes => counters.stored(bytes),
                }
                done.backup
            }
            Err(PutError::Failed(failure)) => {
                return Ok(Attempt { outcome: Outcome::Failed(failure), sent: true });
            }
            Err(PutError::Doubtful(failure)) => {
                return Ok(Attempt { outcome: Outcome::Doubtful(failure, hour), sent: true });
            }
            Err(PutError::Fenced(footer)) => return Err(Stop::Fenced(*footer)),
        };
        let at = clock.monotonic();
        Ok(Attempt { outcome: Outcome::Stored { digest, settled, backup, at }, sent: true })
    }

    /// Where an owner before this one ended before it could tell what it had stored: looks whether the newest
    /// backup in the bucket is of this very state. The same content is not enough: see [`Decision::Renew`].
    ///
    /// [`Decision::Renew`]: crate::conflict::Decision::Renew
    async fn stored_before(&self, prepared: &Prepared) -> Result<Before, Failure> {
        let hour = Hour::of(prepared.fields.captured_at);
        // In its own hour, the condition of the write finds what is there.
        let Some(since) = self.known.unsure_since.filter(|&since| since != hour) else {
            return Ok(Before::Other);
        };
        let listed = inventory::of_database(self.store, self.stem).await;
        let listed = listed.map_err(|error| put::store_failure(&error))?;
        let Some(newest) = listed.first() else { return Ok(Before::Other) };
        if newest.key.hour > hour {
            return Err(put::clock_set_back(newest.key.hour, prepared.fields.captured_at));
        }
        if newest.key.hour == hour || newest.key.hour < since {
            return Ok(Before::Other);
        }
        let (footer, info) =
            match ultrasimple_store::footer(self.store, &newest.key.object_key()).await {
                Ok(found) => found,
                Err(FetchError::Store(error)) => return Err(put::store_failure(&error)),
                // What cannot be read is no backup of this state.
                Err(_) => return Ok(Before::Other),
            };
        let ours = prepared.footer();
        if (&footer.volume, &footer.path) != (&ours.volume, &ours.path) {
            return Ok(Before::Other);
        }
        if footer.epoch > ours.epoch {
            return Ok(Before::Later(Box::new(footer)));
        }
        if !is_same_state(&ours, &footer) || footer.check != ours.check {
            return Ok(Before::Other);
        }
        let newest = Newest::of(&footer);
        Ok(Before::Same(StoredBackup { bytes: info.size, etag: info.etag, newest }))
    }

    fn adopt(&self, prepared: &Prepared, backup: StoredBackup) -> Attempt {
        self.counters.unchanged();
        let Prepared { digest, settled, .. } = *prepared;
        let at = self.clock.monotonic();
        Attempt::unsent(Outcome::Stored { digest, settled, backup, at })
    }
}
