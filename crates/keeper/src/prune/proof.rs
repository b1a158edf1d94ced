//! What the objects of one database prove of the backups that a plan wants to delete.

use std::collections::{BTreeMap, BTreeSet};

use ultrasimple_core::catalog::{Edit, Record};
use ultrasimple_core::retention::{DeleteReason, Plan};
use ultrasimple_core::{Hour, KeyStem, ObjectKey, VolumeName};
use ultrasimple_store::{FetchError, Store, StoreError, footer};

use crate::identity::Identity;

/// What is known of one database after looking at its objects.
pub(super) struct Proof {
    pub(super) stem: KeyStem,
    /// May go.
    pub(super) hours: Vec<Hour>,
    pub(super) unproven: Vec<(ObjectKey, String)>,
    pub(super) deferred: Vec<(ObjectKey, String)>,
    pub(super) refused: Option<String>,
    pub(super) failed: Vec<(ObjectKey, StoreError)>,
    pub(super) edits: Vec<Edit>,
}

/// What is under a key.
enum Seen {
    /// The backup of this database and hour (or a copy of a later one), and whether it is known to be bad.
    Ours(bool),
    Gone,
    /// Something else, or a backup of another one.
    Foreign(String),
    /// A backup of a newer version of this program.
    Newer(String),
    Failed(StoreError),
}

/// Looking at the objects of one database.
pub(super) struct Look<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) volume: &'a VolumeName,
    pub(super) stem: &'a KeyStem,
    pub(super) record: &'a Record,
}

impl Look<'_> {
    /// Looks at the newest backup, at all that are to go, and at those that took their places.
    pub(super) async fn prove(self, plan: &Plan) -> Proof {
        let mut proof = Proof::of(self.stem.clone());
        let Some(newest) = self.record.newest_own().map(|held| held.hour) else { return proof };
        let due: Vec<_> =
            plan.delete.iter().filter(|(hour, reason)| *hour < reason.replaced_by).collect();
        if due.is_empty() || !self.has_good_newest(newest, &mut proof).await {
            return proof;
        }
        let mut is_bad = BTreeMap::from([(newest, false)]);
        let hours: BTreeSet<_> =
            due.iter().flat_map(|(hour, reason)| [*hour, reason.replaced_by]).collect();
        for hour in hours.into_iter().filter(|&hour| hour != newest) {
            match self.at(hour, newest).await {
                Seen::Ours(bad) => drop(is_bad.insert(hour, bad)),
                seen => self.note(hour, seen, &mut proof),
            }
        }
        for &&(hour, DeleteReason { replaced_by, .. }) in &due {
            match (is_bad.get(&hour), is_bad.get(&replaced_by)) {
                (Some(_), Some(false)) | (Some(true), Some(true)) => proof.hours.push(hour),
                (Some(false), Some(true)) => {
                    let why = format!("what took its place, {}, is bad", self.stem.at(replaced_by));
                    proof.deferred.push((self.key(hour), why));
                }
                // Nothing took its place (any more: plans may be stale), or nobody knows. The next plan is
                // made from what was noted.
                (_, None) | (None, _) => {}
            }
        }
        proof
    }

    /// Whether the newest backup is there and good, so that older ones may go. Notes it if not.
    async fn has_good_newest(&self, hour: Hour, proof: &mut Proof) -> bool {
        if let Some(why) = &self.record.failed_check {
            proof.refused = Some(format!("the database's last check failed: {why}"));
            return false;
        }
        let why = match self.record.newest_is_bad() {
            Some(why) => format!("is bad: {why}"),
            None => match self.at(hour, hour).await {
                Seen::Ours(false) => return true,
                Seen::Ours(true) => "is marked: the database was damaged then".to_owned(),
                Seen::Gone => {
                    proof.edits.push(Edit::Gone { stem: self.stem.clone(), hour });
                    "is gone".to_owned()
                }
                Seen::Foreign(why) | Seen::Newer(why) => why,
                Seen::Failed(error) => {
                    proof.failed.push((self.key(hour), error));
                    return false;
                }
            },
        };
        proof.refused = Some(format!("its newest backup, {}, {why}", self.stem.at(hour)));
        false
    }

    /// Notes what is not a backup of this database and hour.
    fn note(&self, hour: Hour, seen: Seen, proof: &mut Proof) {
        let (key, stem) = (self.key(hour), self.stem.clone());
        match seen {
            Seen::Ours(_) => {}
            Seen::Gone => proof.edits.push(Edit::Gone { stem, hour }),
            Seen::Foreign(why) => {
                if let Some(held) = self.record.hour(hour) {
                    let (etag, why) = (held.etag.clone(), why.as_str().into());
                    proof.edits.push(Edit::Foreign { stem, hour, etag, why });
                }
                proof.unproven.push((key, why));
            }
            Seen::Newer(why) => proof.unproven.push((key, why)),
            Seen::Failed(error) => proof.failed.push((key, error)),
        }
    }

    /// What is under the key of an hour. A copy of a later hour's backup, though not of one later than the
    /// `newest`, is as old as its key says: it can go, as the state in it is kept under its own. An old state
    /// under a later key is another matter: it must not pass for what took an older one's place.
    async fn at(&self, hour: Hour, newest: Hour) -> Seen {
        let found = footer(self.store, &self.key(hour)).await;
        let own = match &found {
            Ok((footer, _)) => Hour::of(footer.captured_at),
            Err(_) => hour,
        };
        let hour_of_footer = if (hour..=newest).contains(&own) { own } else { hour };
        let path = &self.record.path;
        let identity = Identity { volume: self.volume, path, hour: hour_of_footer };
        match found {
            Ok((footer, _)) => match identity.mismatch(&footer) {
                None => {
                    let fault = self.record.hour(hour).and_then(|held| held.fault.as_deref());
                    Seen::Ours(footer.check.is_marked() || fault.is_some())
                }
                Some(why) => Seen::Foreign(why),
            },
            Err(FetchError::Missing) => Seen::Gone,
            Err(FetchError::Store(error)) => Seen::Failed(error),
            Err(FetchError::Newer(error)) => Seen::Newer(format!("cannot be read: {error}")),
            Err(error) => Seen::Foreign(format!("is not provably a backup: {error}")),
        }
    }

    fn key(&self, hour: Hour) -> ObjectKey {
        self.stem.at(hour).object_key()
    }
}

impl Proof {
    fn of(stem: KeyStem) -> Self {
        Self {
            stem,
            hours: Vec::new(),
            unproven: Vec::new(),
            deferred: Vec::new(),
            refused: None,
            failed: Vec::new(),
            edits: Vec::new(),
        }
    }
}
