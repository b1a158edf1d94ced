//! What `cost` takes: numbers of the workload, and settings of the daemon under their own names.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use ultrasimple_core::config::{RawSettings, Setting};

use crate::connect;

pub(crate) const EXAMPLES: &str = "\
A month has 30 days. The sum is that of the steady state, at list prices, without tax and free allowances.
The settings come from the daemon's file (-config) and the ULTRASIMPLE_… variables where no flag says
otherwise, so that 'cost -config FILE' tells what that daemon will cost. docs/COST.md has the arithmetic.

--from-catalogs reads the numbers from the bucket's catalogs: one request for each. Without it no bucket is read, even
where one is set. What catalogs cannot tell is how often a database was uploaded within an hour: one with a backup in 22
of the last 24 closed hours is taken to change in every cycle, which is the dearest case. A number given by its flag
stands instead of the one read. With one of these, or -retention-days or -keep, the storage is that of the steady state,
and otherwise what is really held.

Examples:
  ultrasimple-ctl cost --databases 100000 --hot 10 --changes-per-day 1
  ultrasimple-ctl -config /etc/ultrasimple.toml cost --from-catalogs
  ultrasimple-ctl -bucket my-backups cost --from-catalogs --hot 5
  ultrasimple-ctl cost --databases 250 --hot 250 -min-upload-interval 5m
  ultrasimple-ctl cost --provider cloudflare-r2 --size 4MiB -retention-days 90
  ultrasimple-ctl cost --list-providers";

/// The daemon's settings that its bill depends on.
const SETTINGS: [Setting; 8] = [
    Setting::Interval,
    Setting::MinUploadInterval,
    Setting::PutBudget,
    Setting::RetentionDays,
    Setting::Keep,
    Setting::Shards,
    Setting::VerifyPercentPerDay,
    Setting::ReconcileRequests,
];

#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// Read the numbers below from the catalogs of the bucket; needs -bucket
    #[arg(long, conflicts_with = "list_providers")]
    pub(crate) from_catalogs: bool,
    /// Databases [default: 100000]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) databases: Option<u64>,
    /// Of these, how many change all the time, in every cycle [default: 10]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) hot: Option<u64>,
    /// Changes a day of each of the others, on average [default: 1]
    #[arg(long, value_name = "N", value_parser = up_to::<1_000_000>)]
    pub(crate) changes_per_day: Option<f64>,
    /// Size of a database, on average [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) size: Option<u64>,
    /// Stored bytes for each byte of a database [default: 0.4]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub(crate) compression: Option<f64>,
    /// Starts of the daemon in a month
    #[arg(long, value_name = "N", default_value = "4", value_parser = up_to::<1_000_000>)]
    pub(crate) restarts_per_month: f64,
    /// Whose prices: see --list-providers [default: aws-us-east-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// A file with price lists, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// List the providers and their prices, and do nothing else
    #[arg(long)]
    pub(crate) list_providers: bool,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

fn digits(word: &str) -> String {
    word.trim().replace('_', "")
}

fn count(word: &str) -> Result<u64, String> {
    let number = digits(word).parse().ok().filter(|number| *number <= 1_000_000_000);
    number.ok_or_else(|| "it must be a whole number from 0 to 1000000000".to_owned())
}

fn up_to<const MOST: u32>(word: &str) -> Result<f64, String> {
    let number = digits(word).parse().ok().filter(|n| (0.0..=f64::from(MOST)).contains(n));
    number.ok_or_else(|| format!("it must be a number from 0 to {MOST}"))
}

fn ratio(word: &str) -> Result<f64, String> {
    let number = digits(word).parse().ok().filter(|number| (0.001..=1.1).contains(number));
    number.ok_or_else(|| {
        "it must be a number from 0.001 to 1.1: 0.4 where 10 MiB are stored in 4 MiB".to_owned()
    })
}

fn size(word: &str) -> Result<u64, String> {
    let bytes = word.trim().parse::<ByteSize>().ok().map(|size| size.as_u64());
    let bytes = bytes.filter(|bytes| (1..=1 << 44).contains(bytes));
    bytes.ok_or_else(|| "it must be a size from 1B to 16TiB, such as 256KiB".to_owned())
}

/// The flags of [`SETTINGS`], as they were given, and which these are.
#[derive(Debug)]
pub(crate) struct SettingFlags {
    pub(crate) raw: RawSettings,
    pub(crate) given: Vec<Setting>,
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let heading = "Settings of the daemon";
        command.args(SETTINGS.map(|setting| connect::argument(setting, setting.help(), heading)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = |setting: &Setting| matches.contains_id(setting.name());
        let given = SETTINGS.into_iter().filter(is_given).collect();
        Ok(Self { raw: connect::flags(matches, &SETTINGS), given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_bounds() {
        assert_eq!(count("100_000"), Ok(100_000));
        assert_eq!((size("4MiB"), up_to::<100>("0.5")), (Ok(4 << 20), Ok(0.5)));
        assert!(count("-1").is_err() && count("1.5").is_err() && count("2000000000").is_err());
        for bad in ["nan", "inf", "-1", "101", ""] {
            assert!(up_to::<100>(bad).is_err(), "{bad}");
        }
        assert!(ratio("0").is_err() && ratio("2.5").is_err() && ratio("nan").is_err());
        assert!(size("0").is_err() && size("17TiB").is_err() && size("big").is_err());
    }
}
