//! Databases by name: those that fail, those that were searched for, and one with its hours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ultrasimple_core::{Hour, SourcePath};
use ultrasimple_replicator::{Database, DatabaseStatus, History, Trouble};

use super::{Bytes, Count, Html, Of, Span, View, time};
use crate::page::gather::FOUND;
use crate::page::query::link_to;
use crate::page::view::{DatabaseView, SearchView};

/// Days of a database's hours that are shown; the rest is counted.
const MOST_DAYS: usize = 45;
/// Longer reasons are cut off.
const MOST_REASON: usize = 600;
/// From one hour of the picture to the next.
const STEP: usize = 12;

fn link(html: &mut Html, path: &SourcePath) {
    html.put("<a class=\"path\" href=\"{}\">{}</a>", &[&link_to(path), path]);
}

fn trouble(html: &mut Html, view: &View, it: &Trouble) {
    let reason: String = it.reason.chars().take(MOST_REASON).collect();
    html.put("<p class=\"why\">{}</p>", &[&reason]);
    let since = ultrasimple_core::Timestamp::try_from(
        std::time::UNIX_EPOCH
            + std::time::Duration::from_millis(
                u64::try_from(view.now.as_millisecond())
                    .unwrap_or(0)
                    .saturating_sub(u64::try_from(it.lasts.as_millis()).unwrap_or(u64::MAX)),
            ),
    );
    html.put(
        "<p class=\"meta\">{} \u{b7} since {} \u{b7} for {} \u{b7} {}</p>",
        &[
            &it.kind.replace('_', " "),
            &since.map_or_else(|_| "?".to_owned(), time),
            &Span(it.lasts.as_secs_f64()),
            &Of(it.attempts.into(), "attempt"),
        ],
    );
}

pub(super) fn failing(html: &mut Html, view: &View) {
    let count = view.shards.as_ref().map_or(0, |own| own.failing);
    let named = match &view.portrait {
        Ok(portrait) => &portrait.failing[..],
        Err(why) => {
            html.put(
                "<section aria-labelledby=\"failing\"><h2 id=\"failing\">Failing databases</h2><p>Not known: {}</p>\
                 </section>",
                &[why],
            );
            return;
        }
    };
    html.raw("<section aria-labelledby=\"failing\"><h2 id=\"failing\">Failing databases</h2>");
    let elsewhere = view.fleet.nodes.iter().filter(|node| !node.is_self);
    let elsewhere: Vec<_> =
        elsewhere.filter(|node| node.sums.is_some_and(|sums| sums.failing > 0)).collect();
    if named.is_empty() {
        html.raw("<p class=\"lead\">None on this node.</p>");
    } else {
        html.raw("<ol class=\"troubles\">");
        for database in named {
            html.raw("<li>");
            link(html, &database.path);
            trouble(html, view, &database.trouble);
            html.raw("</li>");
        }
        html.raw("</ol>");
    }
    let more = count.saturating_sub(named.len() as u64);
    if more > 0 {
        html.put(
            "<p>And {} on this node, failing for less long.</p>",
            &[&Of(more, "more database")],
        );
    }
    if !elsewhere.is_empty() {
        html.raw("<p>On other nodes: ");
        for (at, node) in elsewhere.iter().take(32).enumerate() {
            let failing = node.sums.map_or(0, |sums| sums.failing);
            let comma = if at == 0 { "" } else { ", " };
            match &node.link {
                Some(link) => html.put(
                    "{}<a href=\"{}\" rel=\"noreferrer\">{}</a> ({})",
                    &[&comma, link, &node.name, &Count(failing)],
                ),
                None => html.put("{}{} ({})", &[&comma, &node.name, &Count(failing)]),
            }
        }
        html.raw("</p>");
    }
    html.raw("</section>");
}

/// How a database stands, in words.
fn status(html: &mut Html, status: &DatabaseStatus) {
    let newest = status.newest.map(|hour| format!("newest backup {}", hour_name(hour)));
    let newest = newest.unwrap_or_else(|| "no backup yet".to_owned());
    let (class, state) = match (&status.trouble, status.waits) {
        (Some(_), _) => ("bad", "failing".to_owned()),
        (None, Some(waits)) => {
            ("busy", format!("a change waits for {}", Span(waits.as_secs_f64())))
        }
        (None, None) => ("good", "protected".to_owned()),
    };
    html.put(
        "<p class=\"meta\"><span class=\"state {}\">{}</span> \u{b7} {}",
        &[&class, &state, &newest],
    );
    if let Some(stored) = status.stored {
        html.put(", stored {} ago", &[&Span(stored.as_secs_f64())]);
    }
    html.raw("</p>");
}

fn elsewhere(html: &mut Html, owner: Option<(&str, Option<&str>)>, path: &SourcePath) {
    match owner {
        Some((name, Some(link))) => {
            let link = format!("{}{}", link.trim_end_matches('/'), link_to(path));
            html.put("<p class=\"meta\">Its shard is that of <a href=\"{}\" rel=\"noreferrer\">{}</a></p>", &[
                &link, &name,
            ]);
        }
        Some((name, None)) => html.put("<p class=\"meta\">Its shard is that of {}</p>", &[&name]),
        None => html.raw("<p class=\"meta\">Its shard is not this node's</p>"),
    }
}

pub(super) fn found(html: &mut Html, view: &View, search: &SearchView) {
    html.raw(
        "<section aria-labelledby=\"found\" class=\"result\"><h2 id=\"found\">Databases found</h2>",
    );
    let findings = match &search.found {
        Ok(findings) => findings,
        Err(why) => {
            html.put("<p>The search failed: {}</p></section>", &[why]);
            return;
        }
    };
    html.put(
        "<p class=\"lead\" role=\"status\">{} of {} on this node's volumes match <q>{}</q>",
        &[&Count(findings.count), &Of(findings.of, "database"), &search.words],
    );
    if findings.count > findings.databases.len() as u64 {
        html.put(", the first {} are shown", &[&FOUND.min(findings.databases.len())]);
    }
    html.raw(if findings.is_partial {
        "; the time was over before all were looked at.</p>"
    } else {
        ".</p>"
    });
    html.raw("<ul class=\"list\">");
    for Database { path, shard, status: own } in &findings.databases {
        html.raw("<li>");
        link(html, path);
        match own {
            Some(own) => {
                status(html, own);
                if let Some(it) = &own.trouble {
                    trouble(html, view, it);
                }
            }
            None => elsewhere(html, view.fleet.owner(shard), path),
        }
        html.raw("</li>");
    }
    html.raw("</ul><p><a href=\"/\">Back to all</a></p></section>");
}

pub(super) fn one(html: &mut Html, view: &View, it: &DatabaseView) {
    html.put(
        "<section aria-labelledby=\"found\" class=\"result\"><h2 id=\"found\" class=\"path\">{}</h2>",
        &[&it.path],
    );
    match &it.shard {
        Some(shard) => html.put("<p class=\"meta\">Shard {}</p>", &[shard]),
        None => html.raw("<p class=\"meta\">No scan shows it on this node's volumes</p>"),
    }
    match &it.status {
        Some(own) => {
            status(html, own);
            if let Some(it) = &own.trouble {
                trouble(html, view, it);
            }
        }
        None if it.shard.is_some() => {
            let owner = it.elsewhere.as_ref();
            elsewhere(html, owner.map(|(name, link)| (name.as_str(), link.as_deref())), &it.path);
        }
        None => {}
    }
    match &it.history {
        Ok(Some(history)) => hours(html, it, history),
        Ok(None) => html.raw(
            "<p>The catalog in the bucket does not know it yet: it is written once an hour.</p>",
        ),
        Err(why) => html.put("<p>Which hours the bucket holds is not known now: {}</p>", &[why]),
    }
    html.raw("<p><a href=\"/\">Back to all</a></p></section>");
}

/// What is held of one day.
#[derive(Default)]
struct Day {
    /// Whether each hour is held, and whether it is sound.
    hours: [Option<bool>; 24],
    count: u64,
    bytes: u64,
}

fn hours(html: &mut Html, it: &DatabaseView, history: &History) {
    let History { written_at, hours, newest, gone_since } = history;
    let own = || hours.iter().filter(|held| held.foreign.is_none());
    html.put(
        "<h3>{} in the bucket, {}</h3>",
        &[&Of(own().count() as u64, "hour"), &Bytes(own().map(|held| held.bytes).sum())],
    );
    html.put("<p class=\"meta\">As of {}, when the catalog was written", &[&time(*written_at)]);
    if let Some(newest) = newest {
        html.put("; the newest was captured {}", &[&time(newest.captured_at)]);
    }
    if let Some(gone) = gone_since {
        html.put("; the database is gone since {}", &[&time(*gone)]);
    }
    let later = it.status.as_ref().and_then(|status| status.newest);
    if let Some(later) = later.filter(|later| own().all(|held| held.hour < *later)) {
        html.put("; since then that of {} was stored", &[&hour_name(later)]);
    }
    html.raw(".</p>");
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    for held in own() {
        let start = held.hour.start().to_string();
        let (date, rest) = start.split_at_checked(10).unwrap_or((&start, ""));
        let day = days.entry(date.to_owned()).or_default();
        day.count += 1;
        day.bytes += held.bytes;
        let index = rest.get(1..3).and_then(|hour| hour.parse::<usize>().ok());
        if let Some(hour) = index.and_then(|index| day.hours.get_mut(index)) {
            *hour = Some(held.fault.is_none());
        }
    }
    let shown: Vec<_> = days.iter().rev().take(MOST_DAYS).collect();
    picture(html, &shown);
    restore(html, &it.path);
    html.raw(
        "<details id=\"hours-table\"><summary>The same as a table</summary><div class=\"scroll\" role=\"region\" \
         aria-label=\"Hours held\" tabindex=\"0\"><table><caption>Hours held, by day (UTC)</caption><thead><tr>\
         <th scope=\"col\">Day</th><th scope=\"col\">from</th><th scope=\"col\" class=\"number\">hours</th>\
         <th scope=\"col\" class=\"number\">bytes</th></tr></thead><tbody>",
    );
    for (date, day) in &shown {
        let held = day.hours.iter().enumerate().filter(|(_, hour)| hour.is_some());
        let names: Vec<_> = held.map(|(hour, _)| format!("{hour:02}:00")).collect();
        html.put(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            &[date, &names.join(" "), &Count(day.count), &Bytes(day.bytes)],
        );
    }
    html.raw("</tbody></table></div></details>");
    if days.len() > MOST_DAYS {
        html.put("<p>And {}.</p>", &[&Of((days.len() - MOST_DAYS) as u64, "earlier day")]);
    }
}

/// A row for each day, a square for each hour.
fn picture(html: &mut Html, days: &[(&String, &Day)]) {
    const LEFT: usize = 62;
    let height = days.len() * STEP + STEP;
    html.put(
        "<svg class=\"squares hours\" role=\"img\" aria-labelledby=\"hours-title\" viewBox=\"0 0 {} {}\">\
         <title id=\"hours-title\">Hours held on the last {}; the table has the same</title>",
        &[&(LEFT + 24 * STEP), &height, &Of(days.len() as u64, "day")],
    );
    for hour in [0, 6, 12, 18] {
        html.put(
            "<text x=\"{}\" y=\"9\">{}</text>",
            &[&(LEFT + hour * STEP), &format!("{hour:02}")],
        );
    }
    let (mut held, mut faulty, mut free) = (String::new(), String::new(), String::new());
    for (row, (date, day)) in days.iter().enumerate() {
        let y = (row + 1) * STEP + 1;
        html.put("<text x=\"0\" y=\"{}\">{}</text>", &[&(y + 8), date]);
        for (hour, state) in day.hours.iter().enumerate() {
            let x = LEFT + hour * STEP + 1;
            match state {
                Some(true) => {
                    let _ = write!(held, "M{x} {y}h10v10h-10z");
                }
                Some(false) => {
                    let _ = write!(faulty, "M{x} {y}h10v10h-10z");
                }
                None => {
                    let _ = write!(free, "M{} {}h2v2h-2z", x + 4, y + 4);
                }
            }
        }
    }
    for (class, path) in [("free", free), ("waiting", held), ("late", faulty)] {
        if !path.is_empty() {
            html.put("<path class=\"{}\" d=\"{}\"/>", &[&class, &path]);
        }
    }
    html.raw("</svg>");
}

/// What brings it back; only where the path needs no quoting by a shell.
fn restore(html: &mut Html, path: &SourcePath) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    if path.as_bytes().iter().all(is_plain) {
        html.put(
            "<p class=\"meta\">To get it back: <code>ultrasimple-ctl restore {} -o restored.db --at '2h ago'</code></p>",
            &[path],
        );
    }
}

/// The hour from its beginning to its end.
fn hour_name(hour: Hour) -> String {
    let start: String = hour.start().to_string().chars().take(16).collect();
    let end: String = hour.end().to_string().chars().skip(11).take(5).collect();
    format!("{} to {end}", start.replace('T', " "))
}
