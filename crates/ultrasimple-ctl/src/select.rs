//! Which of a database's backups is the one to restore.
//!
//! [`Rule`] is the decision, pure: of one backup, whether it is to be taken. [`Search`] asks it about one
//! hour after the other, the newest first, and reads the footers; nothing is read that the decision
//! does not need, and nothing at all where the catalog has told ([`Search::hint`]).
//!
//! An hour in a key is only an upper bound: its backup was captured in the hour before. So the first
//! candidate for a time is the newest hour that *starts* at or before it; only the footer tells whether
//! the capture was early enough.

use std::collections::VecDeque;

use serde::Serialize;
use ultrasimple_core::{
    CheckResult, ContentHash, Footer, Hour, KeyStem, SourcePath, Timestamp, VolumeName,
};
use ultrasimple_store::{FetchError, Held, Store, inventory};

/// What the operator asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rule {
    /// The newest capture at or before this time; the newest of all when `None`.
    pub(crate) at: Option<Timestamp>,
    /// Where a backup is not good, take the next older good one.
    pub(crate) or_older: bool,
    /// A backup whose check failed is good enough.
    pub(crate) marked_ok: bool,
}

/// What is to be done with one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Restore it.
    Take,
    /// It was captured after the time asked for: look at the next older one.
    TooLate,
    /// It is not good: for this reason.
    Bad(String),
}

impl Rule {
    /// Decides about a backup by what it is.
    pub(crate) fn judge(&self, facts: &Facts) -> Verdict {
        if self.at.is_some_and(|at| facts.captured_at > at) {
            return Verdict::TooLate;
        }
        match &facts.marked {
            Some(reason) if !self.marked_ok => {
                Verdict::Bad(format!("its check failed when it was taken: {reason}"))
            }
            _ => Verdict::Take,
        }
    }
}

/// What a backup is: as its footer says, or as a catalog says until the footer has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) volume: VolumeName,
    /// Where the database was.
    pub(crate) path: SourcePath,
    pub(crate) captured_at: Timestamp,
    /// Of the image.
    pub(crate) blake3: ContentHash,
    /// Bytes of the image.
    pub(crate) size: u64,
    /// Why it is marked as damaged, if it is.
    pub(crate) marked: Option<Box<str>>,
}

impl From<&Footer> for Facts {
    fn from(footer: &Footer) -> Self {
        let marked = match &footer.check {
            CheckResult::Failed(reason) => Some(reason.as_str().into()),
            _ => None,
        };
        let Footer { captured_at, blake3, size, .. } = *footer;
        let (volume, path) = (footer.volume.clone(), footer.path.clone());
        Self { volume, path, captured_at, blake3, size, marked }
    }
}

/// A backup to restore.
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    pub(crate) hour: Hour,
    pub(crate) facts: Facts,
}

/// A backup that was not good enough, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PassedOver {
    /// Its key.
    pub(crate) key: String,
    /// Why.
    pub(crate) reason: String,
}

/// Why there is nothing to restore.
#[derive(Debug)]
pub(crate) enum NoPick {
    /// Everything was captured after the time asked for; this is the oldest capture there is.
    NothingEarlyEnough(Option<Timestamp>),
    /// The backup to take is not good, and nothing else may be taken (or is there).
    Bad(String),
    /// The store could not be read: trying again may help.
    Store(String),
}

impl NoPick {
    /// A word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NothingEarlyEnough(_) => "nothing_early_enough",
            Self::Bad(_) => "bad",
            Self::Store(_) => "store",
        }
    }
}

/// A search for the right backup of one database.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) stem: KeyStem,
    rule: Rule,
    queue: VecDeque<Hour>,
    /// There are older hours than those in the queue, not yet listed.
    more: bool,
    last: Option<Hour>,
    hint: Option<(Hour, Facts)>,
    oldest: Option<Hour>,
    oldest_seen: Option<Timestamp>,
    passed_over: Vec<PassedOver>,
}

impl Search {
    /// A search among what a listing showed. The listing was made for the rule's time.
    pub(crate) fn new(stem: KeyStem, held: &Held, rule: Rule) -> Self {
        let mut search = Self::among(stem, held.candidates().to_vec(), rule);
        (search.more, search.oldest) = (held.has_more(), Some(held.oldest));
        search
    }

    /// A search among exactly these hours, the newest first.
    pub(crate) fn among(stem: KeyStem, hours: Vec<Hour>, rule: Rule) -> Self {
        let (oldest, queue) = (hours.last().copied(), hours.into());
        let (last, hint, oldest_seen, passed_over) = (None, None, None, Vec::new());
        Self { stem, rule, queue, more: false, last, hint, oldest, oldest_seen, passed_over }
    }

    /// Takes what a catalog says of an hour: its footer need not be read before it is restored. Whoever restores
    /// it finds out whether that is so.
    pub(crate) fn hint(&mut self, hour: Hour, facts: Facts) {
        self.hint = Some((hour, facts));
    }

    /// Tells the oldest hour there is, where it is not among those searched.
    pub(crate) fn set_oldest(&mut self, hour: Option<Hour>) {
        self.oldest = hour;
    }

    /// The backups that were not good enough, the newest first.
    pub(crate) fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// What is asked for.
    pub(crate) fn rule(&self) -> Rule {
        self.rule
    }

    /// The next backup that may be taken. Called again, it goes on with older ones.
    pub(crate) async fn next(&mut self, store: &dyn Store) -> Result<Pick, NoPick> {
        while let Some(hour) = self.next_hour(store).await? {
            let hint = self.hint.take().filter(|(of, _)| *of == hour).map(|(_, facts)| facts);
            if let Some(facts) = hint.filter(|facts| self.rule.judge(facts) == Verdict::Take) {
                return Ok(Pick { hour, facts });
            }
            let reason = match self.facts(store, hour).await? {
                Ok(facts) => {
                    self.oldest_seen = Some(facts.captured_at);
                    match self.rule.judge(&facts) {
                        Verdict::Take => return Ok(Pick { hour, facts }),
                        Verdict::TooLate => continue,
                        Verdict::Bad(reason) => reason,
                    }
                }
                Err(reason) => reason,
            };
            self.refuse(store, hour, reason).await?;
        }
        if let Some(PassedOver { key, reason }) = self.passed_over.first() {
            let text = format!("{key}: {reason}; there is no older good one");
            return Err(NoPick::Bad(text));
        }
        Err(NoPick::NothingEarlyEnough(self.oldest_capture(store).await?))
    }

    /// The same backup by its own footer: a catalog may have told of an earlier state. As it was where the footer is lost,
    /// and `None` where it is not to be taken.
    ///
    /// # Errors
    /// When the store could not be read.
    pub(crate) async fn look_again(
        &self,
        store: &dyn Store,
        pick: &Pick,
    ) -> Result<Option<Pick>, NoPick> {
        let Ok(facts) = self.facts(store, pick.hour).await? else { return Ok(Some(pick.clone())) };
        let is_it = facts.path == pick.facts.path && self.rule.judge(&facts) == Verdict::Take;
        Ok(is_it.then_some(Pick { hour: pick.hour, facts }))
    }

    /// Notes that the backup of `hour` is not good.
    ///
    /// # Errors
    /// When the rule does not let an older one be taken. The error tells of the next older one.
    pub(crate) async fn refuse(
        &mut self,
        store: &dyn Store,
        hour: Hour,
        reason: String,
    ) -> Result<(), NoPick> {
        let key = self.stem.at(hour).to_string();
        if self.rule.or_older {
            self.passed_over.push(PassedOver { key, reason });
            return Ok(());
        }
        let offer = match self.next_good(store).await? {
            Some(pick) => {
                let time = pick.facts.captured_at;
                format!("with --or-older the one captured at {time} is restored instead")
            }
            None => "there is no older good one".to_owned(),
        };
        let marked_ok = if reason.starts_with("its check failed") && !self.rule.marked_ok {
            "; with --marked-ok it is restored as it is"
        } else {
            ""
        };
        Err(NoPick::Bad(format!("{key}: {reason}; {offer}{marked_ok}")))
    }

    async fn next_good(&mut self, store: &dyn Store) -> Result<Option<Pick>, NoPick> {
        while let Some(hour) = self.next_hour(store).await? {
            if let Ok(facts) = self.facts(store, hour).await?
                && self.rule.judge(&facts) == Verdict::Take
            {
                return Ok(Some(Pick { hour, facts }));
            }
        }
        Ok(None)
    }

    async fn next_hour(&mut self, store: &dyn Store) -> Result<Option<Hour>, NoPick> {
        if self.queue.is_empty() && std::mem::take(&mut self.more) {
            let listed = inventory::of_database(store, &self.stem).await;
            let hours = listed.map_err(|error| NoPick::Store(error.to_string()))?;
            let hours = hours.into_iter().map(|backup| backup.key.hour);
            self.queue = hours.filter(|&hour| self.last.is_none_or(|last| hour < last)).collect();
        }
        self.last = self.queue.pop_front();
        Ok(self.last)
    }

    /// What the footer says, or why the backup is lost.
    async fn facts(&self, store: &dyn Store, hour: Hour) -> Result<Result<Facts, String>, NoPick> {
        match ultrasimple_store::footer(store, &self.stem.at(hour).object_key()).await {
            Ok((footer, _)) => Ok(Ok(Facts::from(&footer))),
            Err(error) if error.is_loss() => Ok(Err(error.to_string())),
            Err(FetchError::Newer(error)) => {
                Err(NoPick::Bad(format!("{}: {error}", self.stem.at(hour))))
            }
            Err(error) => Err(NoPick::Store(format!("{}: {error}", self.stem.at(hour)))),
        }
    }

    async fn oldest_capture(&self, store: &dyn Store) -> Result<Option<Timestamp>, NoPick> {
        match (self.oldest, self.oldest_seen) {
            (_, Some(seen)) => Ok(Some(seen)),
            (None, None) => Ok(None),
            (Some(hour), None) => {
                let facts = self.facts(store, hour).await?;
                Ok(Some(facts.map_or(hour.start(), |facts| facts.captured_at)))
            }
        }
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
