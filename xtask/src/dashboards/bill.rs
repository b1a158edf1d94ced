//! What it costs, and what makes it cost that.

use super::board::Board;
use super::panel::{Panel, newest, query};

pub(super) fn board() -> Board {
    Board {
        name: "bill",
        title: "Bill",
        description: "What a month costs at the prices of AWS (S3 Standard, us-east-1), and what decides it.",
        span: "2d",
        rows: vec![("A month", month()), ("Requests", requests()), ("What is stored", stored())],
    }
}

fn month() -> Vec<Panel> {
    vec![
        Panel::number(
            "Requests",
            "What the requests of a month like the last 24 hours cost.",
            &newest("sum(ultrasimple_month_cost_dollars{@@})", ""),
        )
        .unit("currencyUSD")
        .size(6, 4)
        .good_below(20.0, 50.0),
        Panel::number(
            "Storage",
            "What the backups that are held now cost in a month, at 0.023 dollars a GB.",
            &newest("sum(ultrasimple_bucket_size_bytes{@@}) / 1e9 * 0.023", ""),
        )
        .unit("currencyUSD")
        .size(6, 4),
        Panel::number(
            "Budget used",
            "Requests of such a month that cost what a PUT costs, as a share of -put-budget, of nodes that have one.",
            &newest(
                r#"sum(ultrasimple_month_requests{@@,class="put"} and on (cluster, node) ultrasimple_budget_requests{@@}) / sum(ultrasimple_budget_requests{@@})"#,
                "",
            ),
        )
        .unit("percentunit")
        .size(6, 4)
        .good_below(0.8, 1.0),
        Panel::number(
            "Waits for the budget",
            "How long until -put-budget lets the next upload begin, on the node where that is longest.",
            &newest("max(ultrasimple_budget_wait_seconds{@@})", ""),
        )
        .unit("s")
        .size(6, 4)
        .good_below(1.0, 900.0),
        Panel::areas(
            "What a month of requests costs, by node",
            "A month like the last 24 hours; from five minutes after a start on.",
            &[query("sum by (node) (ultrasimple_month_cost_dollars{@@})", "{{node}}")],
        )
        .unit("currencyUSD")
        .leads_to_node(),
        Panel::lines(
            "Requests of a month",
            "By what they cost as much as: PUT and LIST 0.005 dollars a thousand, GET and HEAD 0.0004. The budget is for \
             the first kind.",
            &[
                query("sum by (class) (ultrasimple_month_requests{@@})", "{{class}}"),
                query("sum(ultrasimple_budget_requests{@@})", "budget"),
            ],
        ),
    ]
}

fn requests() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Requests a minute, by kind",
            "Whatever for; those that failed count, too. DELETE costs nothing.",
            &[query("60 * sum by (kind) (rate(ultrasimple_store_requests_total{@@}[$__rate_interval]))", "{{kind}}")],
        ),
        Panel::lines(
            "PUTs for a backup",
            "1 where each backup takes one request. More: parts of large ones, second attempts, catalogs.",
            &[query(
                r#"sum(rate(ultrasimple_store_requests_total{@@,kind=~"put|multipart"}[$__rate_interval])) / (sum(rate(ultrasimple_backups_stored_total{@@}[$__rate_interval])) > 0)"#,
                "requests a backup",
            )],
        )
        .size(6, 8),
        Panel::lines(
            "Saved by comparing",
            "Captures that had the content of the last backup, as a share of all that could have been sent.",
            &[query(
                "sum(rate(ultrasimple_backups_unchanged_total{@@}[$__rate_interval])) / \
                 (sum(rate(ultrasimple_backups_unchanged_total{@@}[$__rate_interval])) + \
                 sum(rate(ultrasimple_backups_stored_total{@@}[$__rate_interval])))",
                "unchanged",
            )],
        )
        .unit("percentunit")
        .size(6, 8),
    ]
}

fn stored() -> Vec<Panel> {
    vec![
        Panel::areas(
            "Bytes held",
            "Of all backups in the bucket, by the catalogs, by the node that has the databases now.",
            &[query("sum by (node) (ultrasimple_bucket_size_bytes{@@})", "{{node}}")],
        )
        .unit("bytes")
        .leads_to_node(),
        Panel::lines(
            "Backups held",
            "How many objects that are.",
            &[query("sum(ultrasimple_bucket_backups{@@})", "backups")],
        )
        .size(6, 8),
        Panel::lines(
            "Bytes sent, an hour",
            "Of backups stored, compressed: the traffic.",
            &[query("sum(increase(ultrasimple_backups_sent_bytes_total{@@}[1h]))", "sent")],
        )
        .unit("bytes")
        .size(6, 8),
    ]
}
