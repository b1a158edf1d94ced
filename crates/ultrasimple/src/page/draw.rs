//! The page as HTML: its frame, its verdict and its figures. What is drawn is a [`View`]; nothing is asked here.

mod bill;
mod charts;
mod databases;
mod picture;

use std::fmt::Display;

use super::markup::{Bytes, Count, Html, Of, Span};
use super::view::View;

/// Seconds between two looks of a page that updates itself.
const EVERY: u64 = 5;
/// The same while it searches: that is more work.
const EVERY_SEARCH: u64 = 20;

/// Addresses of the style sheet and the script: they change with what is in them, so that they may be kept.
#[derive(Debug, Clone)]
pub(super) struct Assets {
    pub(super) style: String,
    pub(super) script: String,
}

/// How good or bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// For the title, where there is room for one sign.
    fn sign(self) -> &'static str {
        match self {
            Self::Good => "\u{2713}",
            Self::Warn => "!",
            Self::Bad => "\u{2715}",
        }
    }
}

/// What there is to say in one line, and what more in a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) headline: String,
    pub(super) notes: Vec<String>,
}

impl Verdict {
    /// Of all that the page shows. The first line changes only when something has happened: it is read out then.
    pub(super) fn of(view: &View) -> Self {
        let mut all: Vec<(Tone, String)> = Vec::new();
        if let Err(why) = &view.shards {
            all.push((Tone::Bad, format!("This node does not answer: {why}")));
        }
        if let Some(why) = &view.unready {
            all.push((Tone::Bad, format!("This node is not ready: {why}")));
        }
        let fleet = &view.fleet;
        if fleet.unowned > 0 {
            let are = if fleet.unowned == 1 { "has" } else { "have" };
            let names = fleet.unowned_names.join(", ");
            let more =
                if fleet.unowned > fleet.unowned_names.len() as u64 { " and more" } else { "" };
            let text = format!("{} {are} no owner: {names}{more}", Of(fleet.unowned, "shard"));
            all.push((Tone::Bad, text));
        }
        for node in fleet.troubled() {
            let why = node.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            all.push((Tone::Bad, format!("{}: {}{why}", node.name, node.health.words())));
        }
        let (sums, _) = fleet.sums();
        if sums.failing > 0 {
            let is = if sums.failing == 1 { "is" } else { "are" };
            all.push((Tone::Warn, format!("{} {is} failing", Of(sums.failing, "database"))));
        }
        if view.limit.is_some_and(|limit| sums.exposure > limit.as_secs_f64())
            && sums.pending > sums.failing
        {
            all.push((Tone::Warn, "A change waits for longer than it should".to_owned()));
        }
        if fleet.is_old {
            all.push((Tone::Warn, "Etcd does not answer: this is what it told last".to_owned()));
        }
        if let Some(why) = &fleet.unseen {
            all.push((Tone::Warn, format!("Of the fleet only this node is shown: {why}")));
        }
        if sums.databases == 0 && all.is_empty() {
            all.push((Tone::Warn, "No database has been found".to_owned()));
        }
        all.sort_by_key(|(tone, _)| std::cmp::Reverse(*tone));
        let mut all = all.into_iter();
        match all.next() {
            None => {
                let headline = "Every database is protected".to_owned();
                Self { tone: Tone::Good, headline, notes: Vec::new() }
            }
            Some((tone, headline)) => {
                Self { tone, headline, notes: all.map(|(_, note)| note).take(12).collect() }
            }
        }
    }
}

/// The whole page.
pub(super) fn page(view: &View, assets: &Assets) -> Html {
    let verdict = Verdict::of(view);
    let searches = view.search.is_some() || view.database.is_some();
    let words = view.search.as_ref().map(|search| search.words.as_str()).unwrap_or_default();
    let mut html = Html::default();
    head(&mut html, &format!("{} {}", verdict.tone.sign(), view.node), assets, searches);
    html.put("<body data-every=\"{}\">", &[&if searches { EVERY_SEARCH } else { EVERY }]);
    header(&mut html, &view.node, words);
    html.raw("<main id=\"content\" tabindex=\"-1\">");
    told(&mut html, &verdict);
    if let Some(database) = &view.database {
        databases::one(&mut html, view, database);
    } else if let Some(search) = &view.search {
        databases::found(&mut html, view, search);
    }
    figures(&mut html, view);
    picture::fleet(&mut html, view);
    databases::failing(&mut html, view);
    html.raw("<div class=\"pair\">");
    charts::cycles(&mut html, view);
    charts::waits(&mut html, view);
    html.raw("</div><div class=\"pair\">");
    bill::month(&mut html, view);
    bill::bucket(&mut html, view);
    html.raw("</div></main>");
    footer(&mut html, view);
    html
}

/// The page of a node that cannot tell anything yet.
pub(super) fn starting(assets: &Assets) -> Html {
    let mut html = Html::default();
    head(&mut html, "\u{2026} starting", assets, false);
    html.raw("<body data-every=\"2\">");
    header(&mut html, "", "");
    html.raw("<main id=\"content\" tabindex=\"-1\">");
    let notes =
        vec!["It waits for its bucket, or for etcd, or reads what the bucket holds.".to_owned()];
    let headline = "This node is starting".to_owned();
    told(&mut html, &Verdict { tone: Tone::Warn, headline, notes });
    html.raw("</main></body></html>");
    html
}

fn head(html: &mut Html, title: &str, assets: &Assets, searches: bool) {
    html.raw(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" content=\"noindex\">",
    );
    html.put("<title>{} \u{b7} ultrasimple</title>", &[&title]);
    html.raw("<link rel=\"icon\" href=\"data:,\">");
    html.put("<link rel=\"stylesheet\" href=\"{}\">", &[&assets.style]);
    html.put("<script src=\"{}\" defer></script>", &[&assets.script]);
    if !searches {
        // Not while somebody reads what was found.
        html.raw("<noscript><meta http-equiv=\"refresh\" content=\"60\"></noscript>");
    }
    html.raw("</head>");
}

fn header(html: &mut Html, node: &str, words: &str) {
    html.raw(
        "<a class=\"skip\" href=\"#content\">Skip to the content</a><header><div class=\"bar\"><div class=\"brand\">\
         <svg class=\"mark\" viewBox=\"0 0 20 20\" aria-hidden=\"true\" focusable=\"false\">\
         <path d=\"M2 3h16v4H2zM2 9h10v4H2zM2 15h5v3H2z\"/></svg><h1>",
    );
    if node.is_empty() {
        html.raw("ultrasimple");
    } else {
        html.put("{}<span class=\"product\"> ultrasimple</span>", &[&node]);
    }
    html.raw(
        "</h1></div><button id=\"pause\" class=\"quiet\" type=\"button\" aria-pressed=\"false\" hidden>Pause updates</button>\
         <form role=\"search\" action=\"/\" method=\"get\"><label for=\"q\">Find a database</label>\
         <input id=\"q\" name=\"q\" type=\"search\" autocomplete=\"off\" autocapitalize=\"off\" spellcheck=\"false\" \
         maxlength=\"256\" placeholder=\"part of its path, * for anything\"",
    );
    html.put(" value=\"{}\">", &[&words]);
    html.raw(
        "<button type=\"submit\">Search</button></form></div>\
         <p id=\"stale\" role=\"status\" hidden></p></header>",
    );
}

fn told(html: &mut Html, verdict: &Verdict) {
    html.put("<section class=\"verdict {}\" aria-label=\"Verdict\">", &[&verdict.tone.class()]);
    html.put(
        "<p class=\"headline\" role=\"status\"><span class=\"sign\" aria-hidden=\"true\">{}</span><span>{}</span></p>",
        &[&verdict.tone.sign(), &verdict.headline],
    );
    if !verdict.notes.is_empty() {
        html.raw("<ul class=\"notes\">");
        for note in &verdict.notes {
            html.put("<li>{}</li>", &[note]);
        }
        html.raw("</ul>");
    }
    html.raw("</section>");
}

/// One figure: what it is called, the figure, and what more there is to say.
fn figure(
    html: &mut Html,
    name: &dyn Display,
    value: &dyn Display,
    more: &dyn Display,
    tone: Tone,
) {
    html.put(
        "<div class=\"{}\"><dt>{}</dt><dd><b>{}</b> <span>{}</span></dd></div>",
        &[&tone.class(), name, value, more],
    );
}

fn figures(html: &mut Html, view: &View) {
    let (sums, nodes) = view.fleet.sums();
    let now = &view.statistics;
    let own = view.shards.clone().unwrap_or_default();
    let is_fleet = view.fleet.nodes.len() > 1;
    let here = |count: u64| if is_fleet { format!("{} here", Count(count)) } else { String::new() };
    html.raw("<section aria-labelledby=\"figures\"><h2 id=\"figures\" class=\"unseen\">At a glance</h2><dl class=\"figures\">");
    let of_nodes = if is_fleet {
        format!("on {}, {}", Of(nodes, "node"), here(own.databases))
    } else {
        String::new()
    };
    figure(html, &"Databases", &Count(sums.databases), &of_nodes, Tone::Good);
    figure(html, &"Changes waiting", &Count(sums.pending), &here(own.pending), Tone::Good);
    let tone = if sums.failing > 0 { Tone::Warn } else { Tone::Good };
    figure(html, &"Failing", &Count(sums.failing), &here(own.failing), tone);
    let limit = view.limit.map(|limit| limit.as_secs_f64());
    let is_late = limit.is_some_and(|limit| sums.exposure > limit);
    let tone = if is_late { Tone::Bad } else { Tone::Good };
    let more =
        limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}", Span(limit)));
    figure(html, &"Longest wait", &Span(sums.exposure), &more, tone);
    match now.last_scan {
        Some(at) => {
            let ago = view.now.duration_since(at).as_secs_f64();
            let more = format!("ago, took {}", Span(now.last_scan_seconds));
            figure(html, &"Last scan here", &Span(ago), &more, Tone::Good);
        }
        None => figure(html, &"Last scan here", &"none", &"yet", Tone::Warn),
    }
    let more = format!("here since the start, {}", Bytes(now.bytes_uploaded));
    figure(html, &"Backups stored", &Count(now.uploads_success), &more, Tone::Good);
    html.raw("</dl></section>");
}

fn footer(html: &mut Html, view: &View) {
    html.raw("<footer><p>");
    html.put("As of <time>{}</time>. ", &[&time(view.now)]);
    html.put(
        "Node {}, version {}, up {}, scans every {}. Backups go to {}.",
        &[
            &view.node,
            &view.version,
            &Span(view.uptime.as_secs_f64()),
            &Span(view.interval.as_secs_f64()),
            &view.bucket,
        ],
    );
    if let Some(lease) = view.lease {
        html.put(" Its lease holds for {}.", &[&Span(lease.as_secs_f64())]);
    }
    html.raw(
        "</p><nav aria-label=\"For programs\"><a href=\"/stats\">/stats</a> <a href=\"/metrics\">/metrics</a> \
         <a href=\"/readyz\">/readyz</a> <a href=\"/api/v1/shards\">/api/v1/shards</a></nav>\
         <noscript><p>Without JavaScript this page reloads every minute, except while it shows what was searched for.\
         </p></noscript></footer></body></html>",
    );
}

/// To the second, in UTC.
fn time(at: ultrasimple_core::Timestamp) -> String {
    let text = at.to_string();
    let seconds: String = text.chars().take(19).collect();
    format!("{} UTC", seconds.replace('T', " "))
}
