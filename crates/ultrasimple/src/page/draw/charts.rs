//! How the last cycles went, and how long changes wait.

use std::fmt::Write as _;

use ultrasimple_replicator::{Ages, PastCycle, RECENT_CYCLES};

use super::{Count, Html, Of, Span, View, time};

/// A line through the last cycles.
struct Line {
    name: &'static str,
    values: Vec<f64>,
    /// How a value is written.
    unit: fn(f64) -> String,
}

/// How high a line's picture is, in its own units.
const HEIGHT: f64 = 40.0;
/// Cycles in the table.
const LISTED: usize = 12;

#[expect(clippy::cast_precision_loss, reason = "2^53 databases are out of reach")]
fn float(count: u64) -> f64 {
    count as f64
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn span(value: f64) -> String {
    Span(value).to_string()
}

pub(super) fn cycles(html: &mut Html, view: &View) {
    html.raw("<section aria-labelledby=\"cycles\"><h2 id=\"cycles\">The last cycles</h2>");
    let (Some(first), Some(last)) = (view.cycles.first(), view.cycles.last()) else {
        html.raw("<p>None has ended yet.</p></section>");
        return;
    };
    html.put(
        "<p class=\"lead\">{} of this node, from {} to {}.</p>",
        &[&Of(view.cycles.len() as u64, "cycle"), &time(first.at), &time(last.at)],
    );
    let of = |value: fn(&PastCycle) -> f64| view.cycles.iter().map(value).collect::<Vec<_>>();
    let lines = [
        Line { name: "Changed databases", values: of(|it| float(it.report.changed)), unit: whole },
        Line { name: "Time taken", values: of(|it| it.report.took.as_secs_f64()), unit: span },
        Line {
            name: "Longest wait",
            values: of(|it| it.report.max_exposure.as_secs_f64()),
            unit: span,
        },
        Line { name: "Failing databases", values: of(|it| float(it.report.failed)), unit: whole },
    ];
    html.raw("<div class=\"lines\">");
    for (number, it) in lines.iter().enumerate() {
        line(html, it, number);
    }
    html.raw("</div>");
    table(html, &view.cycles);
    html.raw("</section>");
}

fn line(html: &mut Html, Line { name, values, unit }: &Line, number: usize) {
    let most = values.iter().copied().fold(0.0, f64::max);
    let last = values.last().copied().unwrap_or_default();
    let scale = if most > 0.0 { most } else { 1.0 };
    let skipped = RECENT_CYCLES.saturating_sub(values.len());
    let mut points = String::new();
    for (at, value) in values.iter().enumerate() {
        let y = HEIGHT - 2.0 - value / scale * (HEIGHT - 4.0);
        let _ = write!(points, "{}{},{y:.1}", if at == 0 { "" } else { " " }, skipped + at);
    }
    html.put(
        "<figure><figcaption>{} <b>{}</b> <span>max {}</span></figcaption>",
        &[name, &unit(last), &unit(most)],
    );
    let end = RECENT_CYCLES - 1;
    html.put(
        "<svg class=\"line\" role=\"img\" aria-labelledby=\"line-{}\" viewBox=\"0 0 {} 40\" \
         preserveAspectRatio=\"none\"><title id=\"line-{}\">{}: {} in the last cycle, at most {} in {}</title>",
        &[&number, &end, &number, name, &unit(last), &unit(most), &Of(values.len() as u64, "cycle")],
    );
    html.put("<path class=\"base\" d=\"M0 39H{}\"/>", &[&end]);
    html.put("<polygon class=\"area\" points=\"{},40 {} {},40\"/>", &[&skipped, &points, &end]);
    html.put("<polyline points=\"{}\"/></svg></figure>", &[&points]);
}

fn table(html: &mut Html, cycles: &[PastCycle]) {
    html.raw(
        "<details id=\"cycles-table\"><summary>The last of them as a table</summary><div class=\"scroll\" \
         role=\"region\" aria-label=\"Cycles\" tabindex=\"0\"><table><caption>The last cycles, the newest first\
         </caption><thead><tr><th scope=\"col\">Ended</th><th scope=\"col\" class=\"number\">changed</th>\
         <th scope=\"col\" class=\"number\">stored</th><th scope=\"col\" class=\"number\">unchanged</th>\
         <th scope=\"col\" class=\"number\">failing</th><th scope=\"col\" class=\"number\">longest wait</th>\
         <th scope=\"col\" class=\"number\">took</th></tr></thead><tbody>",
    );
    for PastCycle { at, report } in cycles.iter().rev().take(LISTED) {
        html.put("<tr><th scope=\"row\">{}</th>", &[&time(*at)]);
        for value in [
            Count(report.changed).to_string(),
            Count(report.stored).to_string(),
            Count(report.unchanged).to_string(),
            Count(report.failed).to_string(),
            span(report.max_exposure.as_secs_f64()),
            span(report.took.as_secs_f64()),
        ] {
            html.put("<td class=\"number\">{}</td>", &[&value]);
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div></details>");
}

/// How many changes wait for how long, now and since the start.
pub(super) fn waits(html: &mut Html, view: &View) {
    html.raw("<section aria-labelledby=\"waits\"><h2 id=\"waits\">How long changes wait</h2>");
    let ages = match &view.portrait {
        Ok(portrait) => &portrait.ages[..],
        Err(why) => {
            html.put("<p>Not known: {}</p>", &[why]);
            &[]
        }
    };
    html.raw(
        "<p class=\"lead\">Of this node: changes not yet in the bucket, and those that got there since the start.</p>\
         <table class=\"bars\"><caption class=\"unseen\">Changes by how long they wait or waited</caption><colgroup>\
         <col class=\"age\"><col class=\"count\"><col><col class=\"count\"><col></colgroup><thead><tr>\
         <th scope=\"col\">Wait</th><th scope=\"col\" colspan=\"2\">waiting now</th>\
         <th scope=\"col\" colspan=\"2\">safe since the start</th></tr></thead><tbody>",
    );
    let mut safe_before = 0;
    let rows: Vec<(Ages, u64)> = ages
        .iter()
        .map(|age| {
            let safe = up_to(view, age);
            let here = safe.saturating_sub(safe_before);
            safe_before = safe.max(safe_before);
            (*age, here)
        })
        .collect();
    let most_now = rows.iter().map(|(age, _)| age.waiting + age.failing).max().unwrap_or(0);
    let most_safe = rows.iter().map(|(_, safe)| *safe).max().unwrap_or(0);
    let mut lower = 0.0;
    for (age, safe) in &rows {
        let name = match age.up_to.map(|it| it.as_secs_f64()) {
            Some(upper) => {
                lower = upper;
                format!("up to {}", short(upper))
            }
            None => format!("over {}", short(lower)),
        };
        html.put(
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}",
            &[&name, &Count(age.waiting + age.failing)],
        );
        if age.failing > 0 {
            html.put(
                "<span class=\"unseen\">, {} of failing databases</span>",
                &[&Count(age.failing)],
            );
        }
        html.raw("</td><td class=\"bar\">");
        bar(html, age.waiting, age.failing, most_now);
        html.put("</td><td class=\"number\">{}</td><td class=\"bar\">", &[&Count(*safe)]);
        bar(html, *safe, 0, most_safe);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table>");
    if rows.iter().any(|(age, _)| age.failing > 0) {
        html.raw("<p class=\"note\"><span class=\"key\" aria-hidden=\"true\"></span>of failing databases</p>");
    }
    html.raw("</section>");
}

fn up_to(view: &View, age: &Ages) -> u64 {
    let Some(bound) = age.up_to else { return view.protected.count };
    let bound = bound.as_secs_f64();
    let below = view.protected.buckets.iter().filter(|(upper, _)| *upper <= bound + 1e-6);
    below.map(|(_, count)| *count).max().unwrap_or(0)
}

fn short(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 60.0 => format!("{seconds:.0} s"),
        seconds if seconds < 3_600.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn bar(html: &mut Html, first: u64, second: u64, most: u64) {
    let width = |count: u64| {
        let share = float(count) / float(most.max(1)) * 100.0;
        // What is there is seen.
        if count == 0 { 0.0 } else { share.max(1.5) }
    };
    let (first, second) = (width(first), width(second));
    html.put(
        "<svg viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">\
         <rect class=\"track\" width=\"100\" height=\"8\"/><rect class=\"much\" width=\"{}\" height=\"8\"/>\
         <rect class=\"bad\" x=\"{}\" width=\"{}\" height=\"8\"/></svg>",
        &[&format!("{first:.1}"), &format!("{first:.1}"), &format!("{second:.1}")],
    );
}
