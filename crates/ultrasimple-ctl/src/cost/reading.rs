//! The catalogs of a bucket as the source of the numbers: reading them, and saying what they said.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use ultrasimple_core::{Clock, ShardKey, SystemClock};
use ultrasimple_store::Store;

use super::figures::{bytes, money, number};
use super::model::{Bill, Held, Policy, Storage, Workload, float};
use super::numbers::{Source, Sources};
use super::observe::{Census, Observed};
use super::prices::Prices;
use super::report::{exact, rounded, wrapped};
use crate::{known, show};

/// From here on what is held is not what it would be in the steady state.
const MUCH: f64 = 0.1;

/// What the catalogs of a bucket say.
#[derive(Debug)]
pub(super) struct Reading {
    location: String,
    pub(super) observed: Observed,
    unusable: BTreeMap<ShardKey, String>,
    /// What the numbers and settings come to in the end, whether or not that is what is billed.
    pub(super) steady: Option<Storage>,
    /// Where the number of shards is from.
    pub(super) of_shards: Source,
}

/// Reads all catalogs, with a warning where some cannot be used.
///
/// # Errors
/// When they cannot be listed, or none can be used, or they know of nothing.
pub(super) async fn read(store: &dyn Store, kept_hours: f64) -> anyhow::Result<Reading> {
    let location = store.location().to_owned();
    let mut census = Census::default();
    let unusable = known::each(store, None, |catalog| census.add(&catalog)).await;
    let unusable = unusable.with_context(|| format!("cannot list the catalogs of {location}"))?;
    known::warn(&unusable);
    let Some(observed) = census.finish(SystemClock.now(), kept_hours) else {
        bail!(
            "{location} has no catalog that can be used: run 'ultrasimple-ctl catalog rebuild', or give \
             the numbers (--databases, --hot, --changes-per-day, --size) and leave --from-catalogs out"
        );
    };
    if observed.objects == 0 {
        bail!(
            "the catalogs of {location} know of no backup: run 'ultrasimple-ctl catalog rebuild' if there \
             are some, or give the numbers and leave --from-catalogs out"
        );
    }
    Ok(Reading { location, observed, unusable, steady: None, of_shards: Source::Read })
}

impl Reading {
    /// The number of shards, and of catalogs, those included that cannot be used.
    pub(super) fn shards(&self) -> (u32, usize) {
        let catalogs = usize::try_from(self.observed.catalogs).unwrap_or(usize::MAX);
        (self.observed.shards, catalogs.saturating_add(self.unusable.len()))
    }

    /// What is held, as parts of the steady state.
    pub(super) fn held(&self, steady: &Storage) -> Option<Held> {
        let steady_bytes = steady.objects * steady.object_bytes;
        let is_something = steady.objects > 0.0 && steady_bytes > 0.0;
        is_something.then(|| Held {
            objects: float(self.observed.objects) / steady.objects,
            bytes: float(self.observed.bytes) / steady_bytes,
        })
    }

    /// The numbers, and where they are from.
    pub(super) fn text(&self, workload: &Workload, policy: &Policy, sources: &Sources) -> String {
        let (_, catalogs) = self.shards();
        let Observed { oldest_written_at, newest_written_at, .. } = self.observed;
        let (oldest, newest) = (show::time(oldest_written_at), show::time(newest_written_at));
        let catalogs = show::count(catalogs, "catalog");
        let mut text = wrapped(
            "",
            &format!("By {catalogs} of {}, written {oldest} to {newest}:", self.location),
        );
        text.push('\n');
        for (flag, value, source) in [
            ("--databases", number(workload.databases), sources.databases),
            ("--hot", number(workload.hot), sources.hot),
            ("--changes-per-day", number(workload.changes_per_day), sources.changes_per_day),
            ("--size", bytes(workload.image_bytes), sources.image_bytes),
            ("--compression", number(workload.compression), sources.compression),
            ("-shards", number(policy.shards), self.of_shards),
        ] {
            let _ = writeln!(text, "{flag:<17}  {value:>13}  {}", source.name());
        }
        text.push('\n');
        for paragraph in self.notes(workload, sources) {
            text += &wrapped("", &paragraph);
        }
        text.push('\n');
        text
    }

    fn notes(&self, workload: &Workload, sources: &Sources) -> Vec<String> {
        let mut notes = Vec::new();
        let Observed { gone, too_young, days, .. } = self.observed;
        if sources.hot == Source::Read && workload.hot > 0.0 {
            notes.push(
                "Hot is what has a backup in 22 of the last 24 closed hours. Catalogs do not tell how \
                 often it was uploaded within an hour: in every cycle is the dearest case."
                    .to_owned(),
            );
        }
        if sources.hot == Source::Read && too_young > 0 {
            notes.push(format!(
                "Of {} the hours known are too few to tell whether they are hot.",
                databases(too_young)
            ));
        }
        if sources.changes_per_day == Source::Read {
            let days = number(days);
            notes.push(format!(
                "The changes of the others are their hours with a backup, in {days} days on average."
            ));
        }
        if gone > 0 {
            notes.push(format!("Besides, {} gone: only storage.", databases(gone)));
        }
        if !self.unusable.is_empty() {
            let (_, all) = self.shards();
            notes.push(format!(
                "{} of {all} catalogs cannot be used: what is in them is missing here.",
                self.unusable.len()
            ));
        }
        notes
    }

    /// What is held and what would be, where these are different things.
    pub(super) fn storage_note(
        &self,
        bill: &Bill,
        is_held: bool,
        prices: &Prices,
    ) -> Option<String> {
        let steady = self.steady.as_ref()?;
        let (objects, held) = (float(self.observed.objects), float(self.observed.bytes));
        let steady_bytes = steady.objects * steady.object_bytes;
        let differs = |now: f64, then: f64| (now - then).abs() > MUCH * then;
        if !differs(objects, steady.objects) && !differs(held, steady_bytes) {
            return None;
        }
        if is_held {
            let (count, size) = (number(steady.objects.round()), bytes(steady_bytes));
            let cost = money(&prices.currency, steady.cost);
            let sum = money(&prices.currency, bill.total() - bill.storage.cost + steady.cost);
            return Some(format!(
                "In the steady state of these numbers and settings, {count} backups ({size}) would be \
                 held: storage for {cost}, a sum of about {sum}."
            ));
        }
        let (count, size) = (number(objects), bytes(held));
        Some(format!(
            "Held now are {count} backups ({size}). A number, -retention-days or -keep was given, and so \
             the storage is that of the steady state."
        ))
    }

    pub(super) fn steady_document(&self) -> Option<Value> {
        let steady = self.steady.as_ref()?;
        Some(json!({
            "objects": rounded(steady.objects),
            "object_bytes": rounded(steady.object_bytes),
            "billed_gb": exact(steady.billed_gb),
            "cost": exact(steady.cost),
        }))
    }

    /// See docs/CTL.md.
    pub(super) fn document(&self) -> Value {
        let observed = &self.observed;
        let reason = |(key, reason): (&ShardKey, &String)| json!({ "key": key.object_key().to_string(), "reason": reason });
        json!({
            "location": self.location,
            "number": self.shards().1,
            "unusable": self.unusable.iter().map(reason).collect::<Vec<_>>(),
            "shards": observed.shards,
            "oldest_written_at": observed.oldest_written_at,
            "newest_written_at": observed.newest_written_at,
            "databases": observed.databases,
            "gone": observed.gone,
            "hot": observed.hot,
            "too_young": observed.too_young,
            "changes_per_day": observed.changes_per_day.map(exact),
            "observed_days": exact(observed.days),
            "image_bytes": observed.image_bytes.map(rounded),
            "compression": observed.compression.map(exact),
            "backups": observed.objects,
            "object_bytes": observed.bytes,
        })
    }
}

fn databases(count: u64) -> String {
    let plural = if count == 1 { " is" } else { "s are" };
    format!("{} database{plural}", number(float(count)))
}
