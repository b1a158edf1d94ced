//! Which number stands: the one given by its flag, else the one read from the catalogs, else the usual one.

use serde::Serialize;
use ultrasimple_core::config::Setting;

use super::args::Cost;
use super::model::{Policy, Workload, float};
use super::observe::Observed;
use crate::Usage;

const DATABASES: u64 = 100_000;
const HOT: u64 = 10;
const CHANGES_PER_DAY: f64 = 1.0;
const IMAGE_BYTES: f64 = 256.0 * 1_024.0;
const COMPRESSION: f64 = 0.4;

/// Where a number is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    Given,
    Read,
    Default,
}

/// Where each of the numbers is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sources {
    pub(super) databases: Source,
    pub(super) hot: Source,
    pub(super) changes_per_day: Source,
    pub(super) image_bytes: Source,
    pub(super) compression: Source,
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Read => "read from the catalogs",
            Self::Default => "default",
        }
    }
}

impl Sources {
    #[cfg(test)]
    pub(super) fn given() -> Self {
        let [databases, hot, changes_per_day, image_bytes, compression] = [Source::Given; 5];
        Self { databases, hot, changes_per_day, image_bytes, compression }
    }

    fn any_given(&self) -> bool {
        let Self { databases, hot, changes_per_day, image_bytes, compression } = self;
        [databases, hot, changes_per_day, image_bytes, compression].contains(&&Source::Given)
    }

    /// The flags of what was counted, and is not to be wrong about.
    pub(super) fn counted(&self) -> Vec<&'static str> {
        let all = [("--size", self.image_bytes), ("--compression", self.compression)];
        all.into_iter().filter(|(_, from)| *from == Source::Read).map(|(flag, _)| flag).collect()
    }
}

/// Refuses what makes no sense, whatever catalogs say.
pub(super) fn check(args: &Cost) -> Result<(), Usage> {
    if args.databases == Some(0) {
        let text = "--databases 0: there is nothing to back up; it must be at least 1";
        return Err(Usage(text.to_owned()));
    }
    Ok(())
}

/// The workload, and where each of its numbers is from.
pub(super) fn choose(
    args: &Cost,
    observed: Option<&Observed>,
) -> Result<(Workload, Sources), Usage> {
    let read = |number: fn(&Observed) -> Option<f64>| observed.and_then(number);
    let (databases, of_databases) =
        pick(args.databases.map(float), read(|o| Some(float(o.databases))), float(DATABASES));
    let (hot, of_hot) = pick(args.hot.map(float), read(|o| Some(float(o.hot))), float(HOT));
    let (changes_per_day, of_changes) =
        pick(args.changes_per_day, read(|o| o.changes_per_day), CHANGES_PER_DAY);
    let (image_bytes, of_size) = pick(args.size.map(float), read(|o| o.image_bytes), IMAGE_BYTES);
    let (compression, of_compression) =
        pick(args.compression, read(|o| o.compression), COMPRESSION);
    let sources = Sources {
        databases: of_databases,
        hot: of_hot,
        changes_per_day: of_changes,
        image_bytes: of_size,
        compression: of_compression,
    };
    if hot > databases {
        let whence = |source| if source == Source::Read { " (by the catalogs)" } else { "" };
        let (of_hot, of_all) = (whence(of_hot), whence(of_databases));
        return Err(Usage(format!(
            "--hot {hot}{of_hot}: it is a part of --databases {databases}{of_all}, and must not be greater"
        )));
    }
    let gone = observed.map_or(0.0, |observed| float(observed.gone));
    let workload = Workload {
        databases,
        hot,
        changes_per_day,
        image_bytes,
        compression,
        gone,
        ..Workload::default()
    };
    Ok((workload, sources))
}

/// A number that a flag gives, or a setting of what is stored, asks what would be: then what is stored now is no
/// answer.
pub(super) fn asks_for_steady_state(args: &Cost, sources: &Sources) -> bool {
    let given = &args.settings.given;
    let of_storage = [Setting::RetentionDays, Setting::Keep];
    sources.any_given() || of_storage.iter().any(|setting| given.contains(setting))
}

/// Takes the numbers of shards and of catalogs that were counted, unless flags say otherwise. Gives where the
/// number of shards is from.
pub(super) fn count_catalogs(
    args: &Cost,
    (shards, catalogs): (u32, usize),
    workload: &mut Workload,
    policy: &mut Policy,
) -> Source {
    if args.settings.given.contains(&Setting::Shards) {
        return Source::Given;
    }
    policy.shards = shards.into();
    if args.databases.is_none() {
        workload.catalogs = Some(float(catalogs as u64));
    }
    Source::Read
}

fn pick<T>(given: Option<T>, read: Option<T>, default: T) -> (T, Source) {
    match (given, read) {
        (Some(given), _) => (given, Source::Given),
        (None, Some(read)) => (read, Source::Read),
        (None, None) => (default, Source::Default),
    }
}
