//! One node: its process, its place in the fleet, its work.

use super::board::Board;
use super::panel::{Panel, newest, query};

pub(super) fn board() -> Board {
    Board {
        name: "node",
        title: "Node",
        description: "One node, or a few: the process, its place in the fleet, its work.",
        span: "3h",
        rows: vec![
            ("The node", now()),
            ("Its place in the fleet", place()),
            ("Its work", work()),
            ("The process", process()),
        ],
    }
}

fn now() -> Vec<Panel> {
    vec![
        Panel::number(
            "Answers",
            "1 when Prometheus reaches it.",
            &newest(r#"min(up{job="ultrasimple",@@})"#, ""),
        )
        .good_above(1.0, 1.0),
        Panel::number(
            "Running for",
            "Since its last start.",
            &newest("min(process_uptime_seconds{@@})", ""),
        )
        .unit("s"),
        Panel::number(
            "Databases",
            "That it backs up.",
            &newest("sum(ultrasimple_databases{@@})", ""),
        ),
        Panel::number(
            "Failing",
            "Of these.",
            &newest(r#"sum(ultrasimple_databases{@@,state="failing"})"#, ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Unwell",
            "1: the store does not work for it, its file system hangs, or a volume is not mounted.",
            &newest("max(ultrasimple_node_unwell{@@})", ""),
        )
        .bad_from(1.0),
        Panel::number(
            "Lease left",
            "How much longer it may act on its lease. 0: it writes nothing.",
            &newest("min(ultrasimple_lease_remaining_seconds{@@})", ""),
        )
        .unit("s")
        .good_above(0.1, 1.0),
    ]
}

fn place() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Shards by phase",
            "starting: their catalogs are being read. releasing: they are being given back.",
            &[query("sum by (phase) (ultrasimple_shards{@@})", "{{phase}}")],
        ),
        Panel::lines(
            "Lease",
            "What is left of the lease, and how long it lasts in etcd. A node that is well keeps between 55 % and 80 %.",
            &[
                query("ultrasimple_lease_remaining_seconds{@@}", "{{node}} left"),
                query("max(ultrasimple_lease_ttl_seconds{@@})", "lasts"),
            ],
        )
        .unit("s"),
        Panel::lines(
            "Shards without an owner, as it sees etcd",
            "Nodes that see different numbers for long do not see the same etcd.",
            &[query("ultrasimple_shards_unowned{@@}", "{{node}}")],
        ),
        Panel::lines(
            "Fences, an hour",
            "Times that the bucket had something of a later owner.",
            &[query("sum by (node) (increase(ultrasimple_fences_total{@@}[1h]))", "{{node}}")],
        ),
    ]
}

fn work() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Since the last scan began",
            "By its clock. A saw that stays below the interval and the time that a scan takes.",
            &[query("time() - ultrasimple_scan_timestamp_seconds{@@}", "{{node}}")],
        )
        .unit("s"),
        Panel::lines(
            "Exposure",
            "How long the oldest change that waits has been waiting.",
            &[query("ultrasimple_exposure_max_seconds{@@}", "{{node}} {{state}}")],
        )
        .unit("s"),
        Panel::lines(
            "Queue and uploads in flight",
            "Databases that wait for their upload to begin, and uploads under way.",
            &[
                query("ultrasimple_queue_length{@@}", "{{node}} waiting"),
                query("ultrasimple_uploads_in_flight{@@}", "{{node}} in flight"),
            ],
        ),
        Panel::lines(
            "Stored and failed, a minute",
            "Backups stored, and attempts that failed.",
            &[
                query(
                    "60 * sum by (node) (rate(ultrasimple_backups_stored_total{@@}[$__rate_interval]))",
                    "{{node}} stored",
                ),
                query(
                    "60 * sum by (node) (rate(ultrasimple_backups_failed_total{@@}[$__rate_interval]))",
                    "{{node}} failed",
                ),
            ],
        ),
        Panel::lines(
            "Places that cannot be scanned",
            "What is there is not backed up.",
            &[query("ultrasimple_scan_problems{@@}", "{{node}}")],
        ),
        Panel::lines(
            "Databases",
            "That it backs up, by state.",
            &[query("sum by (node, state) (ultrasimple_databases{@@})", "{{node}} {{state}}")],
        ),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Memory",
            "Resident.",
            &[query("process_resident_memory_bytes{@@}", "{{node}}")],
        )
        .unit("bytes")
        .size(8, 8),
        Panel::lines(
            "Processor",
            "1 is one core.",
            &[query("rate(process_cpu_seconds_total{@@}[$__rate_interval])", "{{node}}")],
        )
        .size(8, 8),
        Panel::lines(
            "Files and sockets",
            "Open, and how many may be.",
            &[
                query("process_open_fds{@@}", "{{node}} open"),
                query("process_max_fds{@@}", "{{node}} at most"),
            ],
        )
        .size(8, 8),
    ]
}
