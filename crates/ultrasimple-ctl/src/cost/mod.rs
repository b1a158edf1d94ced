//! `cost`: what backing up costs in a month, from numbers that are given, or read from the catalogs of a bucket.
//!
//! [`model`] reckons, [`assume`] asks what decides, [`observe`] makes numbers of catalogs, and [`numbers`] chooses;
//! all are pure. [`prices`] is data, [`report`] says it. Only [`reading`] reaches a bucket, where `--from-catalogs`
//! asks for it: a [`model::Workload`] is all that is to be known of the databases.

pub(crate) mod args;
mod assume;
mod class;
mod figures;
mod model;
mod numbers;
mod observe;
mod prices;
mod reading;
mod report;

use std::ffi::OsString;

use clap::ArgMatches;
use ultrasimple_core::config::{Problems, Setting, Settings};

use self::args::Cost;
use self::model::{Policy, float};
use self::prices::Prices;
use self::reading::Reading;
use crate::{Outcome, Usage, connect, show};

/// To read catalogs, a few at once.
const CONNECTIONS: usize = 16;

/// Prints the reckoning.
///
/// # Errors
/// When a number, a setting or a price list cannot be used, when the catalogs that are asked for cannot be, and
/// when stdout cannot be written.
pub(crate) fn run(
    args: &Cost,
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let lists = prices::load(args.prices.as_deref())?;
    if args.list_providers {
        if json {
            show::print_json(&report::providers(&lists))?;
        } else {
            show::print(&report::providers_text(&lists))?;
        }
        return Ok(Outcome::AllWell);
    }
    let prices = prices::choose(lists, args.provider.as_deref())?;
    numbers::check(args)?;
    let own = args.settings.raw.clone();
    if !args.from_catalogs {
        refuse_bucket(matches)?;
        let settings = connect::settings_without_bucket(own, matches, variables).map_err(usage)?;
        return say(args, policy(args, &settings), prices, None, json);
    }
    let settings = connect::settings(own, matches, variables).map_err(usage)?;
    let policy = policy(args, &settings);
    crate::until_interrupted(CONNECTIONS, async {
        let store = connect::open(&settings.store, CONNECTIONS).await?;
        let reading = reading::read(store.as_ref(), class::kept_hours(&policy)).await?;
        say(args, policy, prices, Some(reading), json)
    })
}

fn say(
    args: &Cost,
    mut policy: Policy,
    prices: Prices,
    mut reading: Option<Reading>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let observed = reading.as_ref().map(|reading| &reading.observed);
    let (mut workload, sources) = numbers::choose(args, observed)?;
    if let Some(reading) = &mut reading {
        reading.of_shards =
            numbers::count_catalogs(args, reading.shards(), &mut workload, &mut policy);
        let steady = model::bill(&workload, &policy, &prices).storage;
        if !numbers::asks_for_steady_state(args, &sources) {
            workload.held = reading.held(&steady);
        }
        reading.steady = Some(steady);
    }
    let bill = model::bill(&workload, &policy, &prices);
    let halved = assume::halved(&workload, &policy, &prices, &sources.counted());
    let reckoning = report::Reckoning { workload, policy, prices, bill, halved, sources, reading };
    if json {
        show::print_json(&reckoning.document())?;
    } else {
        show::print(&reckoning.text())?;
    }
    Ok(Outcome::AllWell)
}

/// A bucket in the daemon's file or variables is passed over; who names one by flag means that it is read.
fn refuse_bucket(matches: &ArgMatches) -> Result<(), Usage> {
    if matches.get_one::<OsString>(Setting::Bucket.name()).is_none() {
        return Ok(());
    }
    Err(Usage(
        "-bucket has no meaning with cost, which does not look into a bucket, unless --from-catalogs is \
         given: add it, or leave -bucket out and say with --databases, --hot, --changes-per-day and --size \
         what is backed up"
            .to_owned(),
    ))
}

#[expect(clippy::needless_pass_by_value, reason = "maps an error")]
fn usage(problems: Problems) -> Usage {
    Usage(format!("{problems}\nsee 'ultrasimple-ctl cost --help'"))
}

fn policy(args: &Cost, settings: &Settings) -> Policy {
    let (keep, upload) = (&settings.keep, &settings.upload);
    Policy {
        interval: settings.scan.interval,
        min_upload_interval: upload.min_upload_interval,
        put_budget: upload.put_budget.map(float),
        retention_days: keep.retention.retention_days().map(f64::from),
        keep: keep.retention.keep(),
        shards: settings.node.volumes.shards().into(),
        verify_percent_per_day: keep.verify_percent_per_day.percent(),
        reconcile_requests: float(keep.reconcile_requests),
        restarts_per_month: args.restarts_per_month,
    }
}
