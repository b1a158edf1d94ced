//! `cost`: what backing up costs in a month, from numbers that are given.
//!
//! [`model`] reckons and [`assume`] asks what decides; both are pure. [`prices`] is data, [`report`] says it.
//! Nothing here needs a bucket: a [`model::Workload`] is all that is to be known of the databases.

pub(crate) mod args;
mod assume;
mod class;
mod figures;
mod model;
mod prices;
mod report;

use std::ffi::OsString;

use clap::ArgMatches;
use ultrasimple_core::config::Setting;

use self::args::Cost;
use self::model::{Policy, Workload, float};
use crate::{Outcome, Usage, connect, show};

/// Prints the reckoning.
///
/// # Errors
/// When a number, a setting or a price list cannot be used, and when stdout cannot be written.
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
    let workload = workload(args, matches)?;
    let policy = policy(args, matches, variables)?;
    let bill = model::bill(&workload, &policy, &prices);
    let halved = assume::halved(&workload, &policy, &prices);
    let reckoning = report::Reckoning { workload, policy, prices, bill, halved };
    if json {
        show::print_json(&reckoning.document())?;
    } else {
        show::print(&reckoning.text())?;
    }
    Ok(Outcome::AllWell)
}

fn workload(args: &Cost, matches: &ArgMatches) -> Result<Workload, Usage> {
    if matches.get_one::<OsString>(Setting::Bucket.name()).is_some() {
        return Err(Usage(
            "-bucket has no meaning with cost, which does not look into a bucket: leave it out, and \
             say with --databases, --hot, --changes-per-day and --size what is backed up"
                .to_owned(),
        ));
    }
    if args.databases == 0 {
        return Err(Usage(
            "--databases 0: there is nothing to back up; it must be at least 1".into(),
        ));
    }
    if args.hot > args.databases {
        let (hot, databases) = (args.hot, args.databases);
        return Err(Usage(format!(
            "--hot {hot}: it is a part of --databases {databases}, and must not be greater"
        )));
    }
    Ok(Workload {
        databases: float(args.databases),
        hot: float(args.hot),
        changes_per_day: args.changes_per_day,
        image_bytes: float(args.size),
        compression: args.compression,
    })
}

fn policy(
    args: &Cost,
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Policy, Usage> {
    let own = args.settings.0.clone();
    let settings = connect::settings_without_bucket(own, matches, variables)
        .map_err(|problems| Usage(format!("{problems}\nsee 'ultrasimple-ctl cost --help'")))?;
    let (keep, upload) = (settings.keep, settings.upload);
    Ok(Policy {
        interval: settings.scan.interval,
        min_upload_interval: upload.min_upload_interval,
        put_budget: upload.put_budget.map(float),
        retention_days: keep.retention.retention_days().map(f64::from),
        keep: keep.retention.keep(),
        shards: settings.node.shards.into(),
        verify_percent_per_day: keep.verify_percent_per_day.percent(),
        reconcile_requests: float(keep.reconcile_requests),
        restarts_per_month: args.restarts_per_month,
    })
}
