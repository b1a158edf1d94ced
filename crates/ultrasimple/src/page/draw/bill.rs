//! What it costs, and what the bucket has for it.

use ultrasimple_replicator::storage_dollars;

use super::{Bytes, Count, Html, Of, Span, View};

fn row(html: &mut Html, name: &'static str, value: &dyn std::fmt::Display) {
    html.put("<div><dt>{}</dt><dd>{}</dd></div>", &[&name, value]);
}

pub(super) fn month(html: &mut Html, view: &View) {
    html.raw("<section aria-labelledby=\"bill\"><h2 id=\"bill\">The bill</h2>");
    let (sums, nodes) = view.fleet.sums();
    let is_fleet = view.fleet.nodes.len() > 1;
    let stored = sums.stored_bytes.unwrap_or(0);
    let storage = storage_dollars(stored);
    match sums.month_dollars {
        Some(requests) => {
            html.put(
                "<p class=\"sum\"><b>${}</b> <span>a month{}</span></p>",
                &[
                    &money(requests + storage),
                    &if is_fleet { format!(", for {}", Of(nodes, "node")) } else { String::new() },
                ],
            );
        }
        None => {
            html.raw(
                "<p class=\"lead\">Five minutes after the start there is enough to go by.</p>",
            );
        }
    }
    html.raw("<dl class=\"facts\">");
    if let Some(requests) = sums.month_dollars {
        row(html, "Requests", &format!("${}", money(requests)));
    }
    row(html, "Storage", &format!("${} for {}", money(storage), Bytes(stored)));
    if let Some(month) = view.statistics.projected_month {
        row(
            html,
            "Requests of this node",
            &format!(
                "{} PUT or LIST, {} GET a month",
                Count(month.put_class),
                Count(month.get_class)
            ),
        );
    }
    let sent = view.statistics.requests;
    row(
        html,
        "Sent since its start",
        &format!("{} PUT or LIST, {} GET", Count(sent.put_class()), Count(sent.get_class())),
    );
    html.raw(
        "</dl><p class=\"note\">As the last 24 hours went, at the prices of S3 Standard in us-east-1. \
         <code>ultrasimple-ctl cost</code> knows others.</p></section>",
    );
}

fn money(dollars: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let cents = (dollars.max(0.0) * 100.0).round() as u64;
    format!("{}.{:02}", Count(cents / 100), cents % 100)
}

pub(super) fn bucket(html: &mut Html, view: &View) {
    let now = &view.statistics;
    let (kept, keeping) = (now.kept, now.keeping);
    html.raw(
        "<section aria-labelledby=\"bucket\"><h2 id=\"bucket\">The bucket</h2><p class=\"lead\">What the catalogs of \
         this node's shards say, and what was done since the start.</p><dl class=\"facts\">",
    );
    row(html, "Backups kept", &format!("{}, {}", Count(kept.backups), Bytes(kept.bytes)));
    row(html, "Damaged or corrupt newest", &Count(kept.bad));
    let oldest = kept.oldest_unverified.map(|at| view.now.duration_since(at).as_secs_f64());
    let oldest = oldest.map(|age| format!(", the oldest {} old", Span(age))).unwrap_or_default();
    row(html, "Newest never verified", &format!("{}{oldest}", Count(kept.unverified)));
    row(
        html,
        "Verified",
        &format!("{}, {} bad", Count(keeping.verified), Count(keeping.verify_failures)),
    );
    row(
        html,
        "Deleted by retention",
        &format!("{}, {} failed", Count(keeping.deleted), Count(keeping.delete_failures)),
    );
    row(
        html,
        "Catalogs written",
        &format!("{}, {} failed", Count(keeping.catalogs_written), Count(keeping.catalog_failures)),
    );
    let failed: Vec<_> = now
        .failed_by_kind
        .iter()
        .map(|(kind, count)| format!("{} {}", Count(*count), kind.replace('_', " ")))
        .collect();
    let failed = if failed.is_empty() { "none".to_owned() } else { failed.join(", ") };
    row(html, "Failed attempts", &failed);
    row(html, "Queued, under way", &format!("{}, {}", Count(now.queued), Count(now.in_flight)));
    html.raw("</dl></section>");
}
