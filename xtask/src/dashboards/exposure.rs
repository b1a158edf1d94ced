//! How long changes wait, and what goes wrong: with backups, and in the bucket.

use super::board::Board;
use super::panel::{Panel, buckets, newest, query};

pub(super) fn board() -> Board {
    Board {
        name: "exposure",
        title: "Exposure and failures",
        description: "How long changes wait for their backup, what fails, and whether what is stored can be trusted.",
        span: "12h",
        rows: vec![
            ("Exposure", exposure()),
            ("Failures", failures()),
            ("Can the backups be trusted?", trust()),
            ("Retention and catalogs", keeping()),
        ],
    }
}

fn within(seconds: u32) -> String {
    format!(
        "sum(rate(ultrasimple_exposure_seconds_bucket{{@@,le=~\"{seconds}(\\\\.0)?\"}}[$__rate_interval])) \
         / sum(rate(ultrasimple_exposure_seconds_count{{@@}}[$__rate_interval]))"
    )
}

fn exposure() -> Vec<Panel> {
    let quantile = |share: &str| {
        let buckets = "ultrasimple_exposure_seconds_bucket{@@}";
        format!("histogram_quantile({share}, sum by (le) (rate({buckets}[$__rate_interval])))")
    };
    vec![
        Panel::lines(
            "The oldest change that waits",
            "pending: of databases that are not failing; failing: of those that are. Goes on growing when cycles do not.",
            &[query("max by (state) (ultrasimple_exposure_max_seconds{@@})", "{{state}}")],
        )
        .unit("s")
        .good_below(60.0, 300.0),
        Panel::heatmap(
            "Changes by exposure",
            "How many changes had been waiting for how long when the bucket had them.",
            &buckets("sum by (le) (increase(ultrasimple_exposure_seconds_bucket{@@}[$__rate_interval]))"),
        ),
        Panel::lines(
            "Exposure when stored",
            "What half, 90 and 99 of 100 changes stayed below.",
            &[
                query(&quantile("0.5"), "50 %"),
                query(&quantile("0.9"), "90 %"),
                query(&quantile("0.99"), "99 %"),
            ],
        )
        .unit("s"),
        Panel::lines(
            "Changes that were in the bucket in time",
            "The share of the changes that were stored within 15 s, a minute, and five minutes.",
            &[
                query(&within(15), "15 s"),
                query(&within(60), "1 min"),
                query(&within(300), "5 min"),
            ],
        )
        .unit("percentunit"),
    ]
}

fn failures() -> Vec<Panel> {
    vec![
        Panel::number(
            "Failing",
            "Databases whose last attempt failed, or whose newest backup is of a damaged database. \
             `ultrasimple-ctl status` and the log name them.",
            &newest(r#"sum(ultrasimple_databases{@@,state="failing"})"#, ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Places that cannot be scanned",
            "What is there is not backed up; the log names them.",
            &newest("sum(ultrasimple_scan_problems{@@})", ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Bad newest backups",
            "Databases whose newest backup is marked as damaged, or was found to be corrupt.",
            &newest("sum(ultrasimple_bucket_bad{@@})", ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Failing for",
            "How long the database that has been failing for longest has had a change that waits.",
            &newest(r#"max(ultrasimple_exposure_max_seconds{@@,state="failing"})"#, ""),
        )
        .unit("s")
        .good_below(60.0, 3_600.0),
        Panel::number(
            "Fences",
            "Times in the last day that the bucket had something of a later owner.",
            &newest("sum(increase(ultrasimple_fences_total{@@}[1d]))", ""),
        )
        .good_below(1.0, 10.0),
        Panel::number(
            "Failed attempts",
            "In the time that is shown.",
            &newest("sum(increase(ultrasimple_backups_failed_total{@@}[$__range]))", ""),
        ),
        Panel::areas(
            "Failed attempts by reason, a minute",
            "Each is repeated in the next cycle. The runbook says what each word means.",
            &[query(
                "60 * sum by (error_type) (rate(ultrasimple_backups_failed_total{@@}[$__rate_interval])) > 0",
                "{{error_type}}",
            )],
        ),
        Panel::areas(
            "Failing databases by node",
            "One node alone: look at its disks and its network. All: look at the store.",
            &[query(r#"sum by (node) (ultrasimple_databases{@@,state="failing"})"#, "{{node}}")],
        )
        .leads_to_node(),
    ]
}

fn trust() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Backups read back, a day",
            "ok: it can be restored. failure: it cannot, and the database is backed up again.",
            &[query("sum by (outcome) (increase(ultrasimple_verifications_total{@@}[1d]))", "{{outcome}}")],
        ),
        Panel::lines(
            "Never read back",
            "Databases whose newest backup was never verified.",
            &[query("sum(ultrasimple_unverified{@@})", "databases")],
        )
        .size(6, 8),
        Panel::lines(
            "The oldest of these",
            "How long ago it was captured. At one percent a day: 100 days at most.",
            &[query("max(ultrasimple_unverified_age_seconds{@@})", "age")],
        )
        .unit("s")
        .size(6, 8),
        Panel::lines(
            "Differences that the daily comparison found, a day",
            "found: a backup that no catalog knew. missing: one that is gone. foreign: an object that is no backup.",
            &[query("sum by (kind) (increase(ultrasimple_comparison_differences_total{@@}[1d]))", "{{kind}}")],
        )
        .size(24, 6),
    ]
}

fn keeping() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Old backups, a day",
            "What became of backups that retention gives up. unproven: not provably one of its database; left alone.",
            &[query(
                "sum by (outcome) (increase(ultrasimple_retention_backups_total{@@}[1d]))",
                "{{outcome}}",
            )],
        ),
        Panel::lines(
            "Catalogs written, an hour",
            "A catalog that cannot be written is tried again later; nothing is lost by it.",
            &[query(
                "sum by (outcome) (increase(ultrasimple_catalog_writes_total{@@}[1h]))",
                "{{outcome}}",
            )],
        )
        .size(6, 8),
        Panel::lines(
            "Age of the catalogs",
            "How long a catalog has lacked something that the bucket has. An hour is usual.",
            &[query("max by (node) (ultrasimple_catalog_age_seconds{@@})", "{{node}}")],
        )
        .unit("s")
        .good_below(4_500.0, 9_000.0)
        .size(6, 8)
        .leads_to_node(),
    ]
}
