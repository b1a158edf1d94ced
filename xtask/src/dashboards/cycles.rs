//! Where the time of a cycle goes.

use super::board::Board;
use super::panel::{Panel, buckets, newest, query};

pub(super) fn board() -> Board {
    Board {
        name: "cycles",
        title: "Cycle latency",
        description: "Where the time of a cycle goes: scan, queue, uploads. Single cycles are in the traces.",
        span: "3h",
        rows: vec![("Cycles", cycles()), ("Uploads", uploads()), ("Traces", traces())],
    }
}

/// What this share of all stayed below.
fn quantile(share: &str, metric: &str, by: &str) -> String {
    format!("histogram_quantile({share}, sum by (le{by}) (rate({metric}[$__rate_interval])))")
}

fn cycles() -> Vec<Panel> {
    let cycle = "ultrasimple_cycle_duration_seconds_bucket{@@}";
    vec![
        Panel::number("Half of the cycles end within", "The median.", &newest(&quantile("0.5", cycle, ""), ""))
            .unit("s"),
        Panel::number(
            "99 of 100 end within",
            "The 99th percentile. A cycle ends when all that it found is stored, or the next one is due.",
            &newest(&quantile("0.99", cycle, ""), ""),
        )
        .unit("s"),
        Panel::number(
            "A cycle is due every",
            "-interval, the longest one of the chosen nodes.",
            &newest("max(ultrasimple_cycle_interval_seconds{@@})", ""),
        )
        .unit("s"),
        Panel::number(
            "Last scan",
            "How long ago the scan began that was finished last, on the node where that is longest.",
            &newest("time() - min(ultrasimple_scan_timestamp_seconds{@@})", ""),
        )
        .unit("s")
        .good_below(60.0, 165.0),
        Panel::number(
            "Changes a cycle",
            "Databases that a scan finds new or changed, on average.",
            &newest(
                "sum(rate(ultrasimple_changes_total{@@}[$__rate_interval])) \
                 / sum(rate(ultrasimple_cycle_duration_seconds_count{@@}[$__rate_interval]))",
                "",
            ),
        ),
        Panel::number(
            "Cycles a minute",
            "Of all chosen nodes together.",
            &newest("60 * sum(rate(ultrasimple_cycle_duration_seconds_count{@@}[$__rate_interval]))", ""),
        ),
        Panel::lines(
            "How long cycles take",
            "Cycles that take as long as the interval leave work to the next one. Points are exemplars, if there are any.",
            &[
                query(&quantile("0.5", cycle, ""), "50 %"),
                query(&quantile("0.9", cycle, ""), "90 %"),
                query(&quantile("0.99", cycle, ""), "99 %"),
                query("max(ultrasimple_cycle_interval_seconds{@@})", "interval"),
            ],
        )
        .unit("s"),
        Panel::heatmap(
            "Cycles by duration",
            "How many cycles took how long.",
            &buckets("sum by (le) (increase(ultrasimple_cycle_duration_seconds_bucket{@@}[$__rate_interval]))"),
        ),
        Panel::lines(
            "Cycle by node",
            "What 99 of 100 cycles stayed below.",
            &[query(&quantile("0.99", cycle, ", node"), "{{node}}")],
        )
        .unit("s")
        .leads_to_node(),
        Panel::lines(
            "Scan by node",
            "What 99 of 100 scans stayed below: it grows with the number of databases and a slow file system.",
            &[query(&quantile("0.99", "ultrasimple_scan_duration_seconds_bucket{@@}", ", node"), "{{node}}")],
        )
        .unit("s")
        .leads_to_node(),
    ]
}

fn uploads() -> Vec<Panel> {
    let upload = "ultrasimple_upload_duration_seconds_bucket{@@}";
    vec![
        Panel::lines(
            "How long uploads take",
            "From its turn until it ended: capture, check, compression, request. 99 of 100, by how it ended.",
            &[query(&quantile("0.99", upload, ", outcome"), "{{outcome}}")],
        )
        .unit("s"),
        Panel::areas(
            "Uploads a minute",
            "By how they ended. given_up: the daemon stopped, its lease was lost, or the shard went elsewhere.",
            &[query(
                "60 * sum by (outcome) (rate(ultrasimple_upload_duration_seconds_count{@@}[$__rate_interval]))",
                "{{outcome}}",
            )],
        ),
        Panel::lines(
            "Queue and uploads in flight",
            "A queue that does not get empty between cycles: more changes than the uploads can take.",
            &[
                query("sum(ultrasimple_queue_length{@@})", "waiting"),
                query("sum(ultrasimple_uploads_in_flight{@@})", "in flight"),
            ],
        ),
        Panel::lines(
            "Sent",
            "Compressed bytes of the backups stored.",
            &[query(
                "sum by (node) (rate(ultrasimple_backups_sent_bytes_total{@@}[$__rate_interval]))",
                "{{node}}",
            )],
        )
        .unit("Bps")
        .leads_to_node(),
    ]
}

fn traces() -> Vec<Panel> {
    vec![
        Panel::traces(
            "Slow cycles",
            "Cycles of more than five seconds, from the trace store. A row opens the trace: scan, dispatch, and the \
             uploads that were kept (all that failed, the slowest, and a sample).",
            r#"{ resource.service.name = "ultrasimple" && name = "cycle" && duration > 5s }"#,
        ),
        Panel::traces(
            "What failed",
            "Spans with an error, from the trace store. They are always kept.",
            r#"{ resource.service.name = "ultrasimple" && status = error }"#,
        ),
    ]
}
