//! The fleet as a picture: a card for each node, a square for each of its shards.

use std::fmt::Write as _;

use super::{Bytes, Count, Html, Of, Span, View};
use crate::page::fleet::{Level, NodeCard};

/// Squares of a picture; where there are more shards, a square stands for several.
const MOST_SQUARES: usize = 2_048;
/// Nodes that have a card; the rest is counted.
const MOST_NODES: usize = 64;
/// Squares side by side.
const COLUMNS: usize = 24;
/// The same where there is one node, with all the room.
const COLUMNS_OF_ONE: usize = 48;
/// From one square to the next.
const STEP: usize = 12;

pub(super) fn fleet(html: &mut Html, view: &View) {
    let fleet = &view.fleet;
    let heading = if fleet.is_fleet { "The fleet" } else { "The shards" };
    html.put("<section aria-labelledby=\"fleet\"><h2 id=\"fleet\">{}</h2>", &[&heading]);
    html.put("<p class=\"lead\">{} of {}", &[&Of(fleet.shards, "shard"), &volumes(&fleet.volumes)]);
    if fleet.is_fleet {
        html.put(", on {}", &[&Of(fleet.nodes.len() as u64, "node")]);
    }
    let each = per_square(fleet.nodes.iter().map(|node| node.squares.len()).sum());
    if each > 1 {
        html.put(". A square stands for {} shards, and shows the worst of them.</p>", &[&each]);
    } else {
        html.raw(". A square is a shard.</p>");
    }
    legend(html, &fleet.nodes, fleet.unowned);
    let columns = if fleet.nodes.len() == 1 { COLUMNS_OF_ONE } else { COLUMNS };
    html.raw("<ul class=\"nodes\">");
    for (number, node) in fleet.nodes.iter().take(MOST_NODES).enumerate() {
        card(html, node, number, (each, columns));
    }
    html.raw("</ul>");
    if fleet.nodes.len() > MOST_NODES {
        html.put("<p>And {}.</p>", &[&Of((fleet.nodes.len() - MOST_NODES) as u64, "more node")]);
    }
    table(html, &fleet.nodes);
    html.raw("</section>");
}

fn volumes(names: &[String]) -> String {
    const NAMED: usize = 6;
    match names {
        [] => "no volume".to_owned(),
        [one] => format!("the volume {one}"),
        names if names.len() > NAMED => format!("{} volumes", names.len()),
        names => format!("the volumes {}", names.join(", ")),
    }
}

fn per_square(squares: usize) -> usize {
    squares.div_ceil(MOST_SQUARES).max(1)
}

fn counts(squares: &[Level]) -> [(Level, u64); 6] {
    Level::ALL.map(|level| (level, squares.iter().filter(|it| **it == level).count() as u64))
}

fn legend(html: &mut Html, nodes: &[NodeCard], unowned: u64) {
    html.raw("<ul class=\"legend\" aria-label=\"Shards by how long their changes wait\">");
    let all: Vec<Level> = nodes.iter().flat_map(|node| node.squares.iter().copied()).collect();
    for (level, count) in counts(&all) {
        let count = if level == Level::Unowned { unowned } else { count };
        let is_usual = matches!(level, Level::Calm | Level::Waiting | Level::Late);
        if count == 0 && !is_usual {
            continue;
        }
        html.raw("<li><svg class=\"squares\" viewBox=\"0 0 12 12\" aria-hidden=\"true\" focusable=\"false\">");
        squares(html, &[level], 1);
        html.put("</svg>{} <b>{}</b></li>", &[&level.words(), &Count(count)]);
    }
    html.raw("</ul>");
}

fn card(html: &mut Html, node: &NodeCard, number: usize, (each, columns): (usize, usize)) {
    let trouble = if node.health.is_trouble() { "node trouble" } else { "node" };
    html.put("<li class=\"{}\"><h3>", &[&trouble]);
    match &node.link {
        Some(link) => html.put("<a href=\"{}\" rel=\"noreferrer\">{}</a>", &[link, &node.name]),
        None => html.put("{}", &[&node.name]),
    }
    if node.is_self {
        html.raw(" <span class=\"tag\">this node</span>");
    }
    html.put(" <span class=\"state\">{}</span></h3>", &[&node.health.words()]);
    let shown: Vec<Level> =
        node.squares.chunks(each).filter_map(|some| some.iter().max().copied()).collect();
    if !shown.is_empty() {
        let rows = shown.len().div_ceil(columns);
        html.put(
            "<svg class=\"squares\" role=\"img\" aria-labelledby=\"picture-{}\" viewBox=\"0 0 {} {}\"><title \
             id=\"picture-{}\">{}</title>",
            &[&number, &(columns * STEP), &(rows * STEP), &number, &in_words(node)],
        );
        squares(html, &shown, columns);
        html.raw("</svg>");
    }
    html.raw("<p>");
    html.put("<b>{}</b>", &[&Of(node.squares.len() as u64, "shard")]);
    if let Some(sums) = node.sums {
        html.put(
            ", {}, {} waiting, {} failing, longest wait {}",
            &[
                &Of(sums.databases, "database"),
                &Count(sums.pending),
                &Count(sums.failing),
                &Span(sums.exposure),
            ],
        );
    }
    html.raw("</p>");
    if let Some(why) = &node.why {
        html.put("<p class=\"why\">{}</p>", &[why]);
    }
    html.raw("</li>");
}

/// What the picture of a node shows.
fn in_words(node: &NodeCard) -> String {
    let parts = counts(&node.squares).into_iter().filter(|(_, count)| *count > 0);
    let parts: Vec<_> =
        parts.map(|(level, count)| format!("{} {}", Count(count), level.words())).collect();
    format!("Shards of {}: {}", node.name, parts.join(", "))
}

/// One path for each kind of square, so that thousands of shards are a few elements.
fn squares(html: &mut Html, levels: &[Level], columns: usize) {
    for level in Level::ALL {
        let mut boxes = String::new();
        let mut marks = String::new();
        for (at, _) in levels.iter().enumerate().filter(|(_, it)| **it == level) {
            let (x, y) = (at % columns * STEP + 1, at / columns * STEP + 1);
            let _ = write!(boxes, "M{x} {y}h10v10h-10z");
            match level {
                // Half of it is full.
                Level::Moving => {
                    let _ = write!(marks, "M{x} {y}h10l-10 10z");
                }
                Level::Late => {
                    let _ = write!(marks, "M{} {}v4M{} {}v1", x + 5, y + 2, x + 5, y + 7);
                }
                Level::Unowned => {
                    let _ = write!(marks, "M{} {}l6 6m0-6l-6 6", x + 2, y + 2);
                }
                Level::Calm | Level::Waiting | Level::Unknown => {}
            }
        }
        if !boxes.is_empty() {
            html.put("<path class=\"{}\" d=\"{}\"/>", &[&level.class(), &boxes]);
        }
        if !marks.is_empty() {
            html.put("<path class=\"{} sign\" d=\"{}\"/>", &[&level.class(), &marks]);
        }
    }
}

fn table(html: &mut Html, nodes: &[NodeCard]) {
    html.raw(
        "<details id=\"fleet-table\"><summary>The same as a table</summary><div class=\"scroll\" role=\"region\" \
         aria-label=\"Nodes\" tabindex=\"0\"><table><caption>Nodes, and their shards by how long changes wait</caption>\
         <thead><tr><th scope=\"col\">Node</th><th scope=\"col\">State</th>",
    );
    for level in &Level::ALL[..5] {
        html.put("<th scope=\"col\" class=\"number\">{}</th>", &[&level.words()]);
    }
    html.raw(
        "<th scope=\"col\" class=\"number\">databases</th><th scope=\"col\" class=\"number\">waiting</th>\
         <th scope=\"col\" class=\"number\">failing</th><th scope=\"col\" class=\"number\">longest wait</th>\
         <th scope=\"col\" class=\"number\">in the bucket</th></tr></thead><tbody>",
    );
    for node in nodes.iter().take(MOST_NODES) {
        html.put("<tr><th scope=\"row\">{}</th><td>{}</td>", &[&node.name, &node.health.words()]);
        for (_, count) in counts(&node.squares).into_iter().take(5) {
            html.put("<td class=\"number\">{}</td>", &[&Count(count)]);
        }
        match node.sums {
            Some(sums) => {
                for value in [
                    Count(sums.databases).to_string(),
                    Count(sums.pending).to_string(),
                    Count(sums.failing).to_string(),
                    Span(sums.exposure).to_string(),
                    sums.stored_bytes.map_or_else(|| "?".to_owned(), |it| Bytes(it).to_string()),
                ] {
                    html.put("<td class=\"number\">{}</td>", &[&value]);
                }
            }
            None => html.raw("<td class=\"number\" colspan=\"5\">not known</td>"),
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></details>");
}
