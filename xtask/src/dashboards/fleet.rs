//! The fleet at a glance: is every database protected, and who does the work?

use super::board::Board;
use super::panel::{Panel, column, newest, query};

pub(super) fn board() -> Board {
    Board {
        name: "fleet",
        title: "Fleet",
        description: "Is every database protected? Begin here.",
        span: "6h",
        rows: vec![
            ("Are the databases protected?", protection()),
            ("What happens", happening()),
            ("The nodes", nodes()),
            ("Weeks (from the recording rules)", weeks()),
        ],
    }
}

fn protection() -> Vec<Panel> {
    vec![
        Panel::number(
            "Protected",
            "Databases of which the bucket has what they hold now, as a share of all.",
            &newest(r#"sum(ultrasimple_databases{@,state="clean"}) / sum(ultrasimple_databases{@})"#, ""),
        )
        .unit("percentunit")
        .good_above(0.95, 0.99),
        Panel::number("Databases", "All that the nodes back up.", &newest("sum(ultrasimple_databases{@})", "")),
        Panel::number(
            "Failing",
            "Databases whose last attempt failed, or whose newest backup is of a damaged database.",
            &newest(r#"sum(ultrasimple_databases{@,state="failing"})"#, ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Largest exposure",
            "How long the oldest change of a database that is not failing has been waiting for its backup.",
            &newest(r#"max(ultrasimple_exposure_max_seconds{@,state="pending"})"#, ""),
        )
        .unit("s")
        .good_below(60.0, 300.0),
        Panel::number(
            "Shards without an owner",
            "Nobody backs up what is in them. Only fleets with etcd have this number.",
            &newest("max(ultrasimple_shards_unowned{@})", ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Requests a month",
            "What the requests cost in a month like the last 24 hours, at the prices of AWS. Storage comes on top.",
            &newest("sum(ultrasimple_month_cost_dollars{@})", ""),
        )
        .unit("currencyUSD"),
    ]
}

fn happening() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Databases by state",
            "clean: the bucket has what they hold. pending: a change waits. failing: the last attempt failed.",
            &[query("sum by (state) (ultrasimple_databases{@})", "{{state}}")],
        ),
        Panel::lines(
            "Largest exposure by node",
            "Of databases that are not failing. The dashed lines are where it gets too long.",
            &[query(
                r#"max by (node) (ultrasimple_exposure_max_seconds{@,state="pending"})"#,
                "{{node}}",
            )],
        )
        .unit("s")
        .good_below(60.0, 300.0)
        .leads_to_node(),
        Panel::lines(
            "Changes and what became of them, a minute",
            "changed: found by scans. stored: confirmed by the store. unchanged: same content, nothing sent.",
            &[
                query("60 * sum(rate(ultrasimple_changes_total{@}[$__rate_interval]))", "changed"),
                query(
                    "60 * sum(rate(ultrasimple_backups_stored_total{@}[$__rate_interval]))",
                    "stored",
                ),
                query(
                    "60 * sum(rate(ultrasimple_backups_unchanged_total{@}[$__rate_interval]))",
                    "unchanged",
                ),
                query(
                    "60 * sum(rate(ultrasimple_backups_failed_total{@}[$__rate_interval]))",
                    "failed attempts",
                ),
            ],
        ),
        Panel::areas(
            "Shards by owner",
            "Who does the work. A node that leaves or joins moves its share alone.",
            &[query(r#"sum by (node) (ultrasimple_shards{@,phase="owned"})"#, "{{node}}")],
        )
        .leads_to_node(),
    ]
}

fn nodes() -> Vec<Panel> {
    let by_node = |metric: &str| column(&format!("sum by (node) ({metric})"));
    vec![
        Panel::table(
            "Nodes",
            "How it is about each node now. `Answers` is 0 for one that Prometheus cannot reach.",
            "node",
            &[
                ("Answers", "none", by_node(r#"up{job="ultrasimple",@}"#)),
                ("Databases", "short", by_node("ultrasimple_databases{@}")),
                ("Failing", "short", by_node(r#"ultrasimple_databases{@,state="failing"}"#)),
                ("Shards", "short", by_node(r#"ultrasimple_shards{@,phase="owned"}"#)),
                ("Lease left", "s", by_node("ultrasimple_lease_remaining_seconds{@}")),
                ("Unwell", "none", by_node("ultrasimple_node_unwell{@}")),
                ("Running for", "s", by_node("process_uptime_seconds{@}")),
                ("Memory", "bytes", by_node("process_resident_memory_bytes{@}")),
            ],
        ),
        Panel::areas(
            "Shards that move",
            "starting: their catalogs are being read. releasing: they are being given back. For moments only.",
            &[query(
                r#"sum by (phase) (ultrasimple_shards{@,phase=~"starting|releasing"})"#,
                "{{phase}}",
            )],
        ),
        Panel::lines(
            "Versions",
            "Nodes by the version that they run.",
            &[query("count by (version) (ultrasimple_build_info{@})", "{{version}}")],
        ),
    ]
}

fn weeks() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Protected",
            "The share of the databases of which the bucket has what they hold, by cluster.",
            &[query("cluster:ultrasimple_databases_clean:ratio{@}", "{{cluster}}")],
        )
        .unit("percentunit"),
        Panel::lines(
            "Databases",
            "By cluster and state.",
            &[query("cluster:ultrasimple_databases:sum{@}", "{{cluster}} {{state}}")],
        ),
        Panel::lines(
            "Exposure",
            "The largest one there was, and what 99 of 100 changes stayed below.",
            &[
                query(
                    r#"cluster:ultrasimple_exposure_max_seconds:max{@,state="pending"}"#,
                    "{{cluster}} largest",
                ),
                query("cluster:ultrasimple_exposure_seconds:p99_15m{@}", "{{cluster}} 99 %"),
            ],
        )
        .unit("s"),
        Panel::lines(
            "Cycles",
            "How long 99 of 100 cycles took at most, by cluster.",
            &[query("cluster:ultrasimple_cycle_duration_seconds:p99_15m{@}", "{{cluster}} 99 %")],
        )
        .unit("s")
        .size(6, 8),
        Panel::lines(
            "Bill",
            "What the requests of a month cost, by cluster.",
            &[query("cluster:ultrasimple_month_cost_dollars:sum{@}", "{{cluster}}")],
        )
        .unit("currencyUSD")
        .size(6, 8),
    ]
}
