//! A chart: a bar for each program, the longest over the whole width.

use std::fmt::Write;

use crate::figures::{Chart, short};

const WIDTH: f64 = 720.0;
const LABEL: f64 = 210.0;
const ROW: f64 = 26.0;
/// Room for the value behind the longest bar.
const VALUE: f64 = 110.0;

/// Readable on a light and on a dark page.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.bar{fill:#8c959f}.ours{fill:#1f6feb}\
@media(prefers-color-scheme:dark){text{fill:#d0d7de}.bar{fill:#6e7681}.ours{fill:#58a6ff}}";

/// As a picture.
pub(super) fn svg(chart: &Chart) -> String {
    let longest = chart.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let rows = u32::try_from(chart.bars.len()).unwrap_or(u32::MAX);
    let height = ROW * f64::from(rows) + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n",
        escape(&chart.title)
    );
    for (row, (who, value)) in (0_u32..).zip(&chart.bars) {
        let top = ROW * f64::from(row) + 4.0;
        let long = (WIDTH - LABEL - VALUE) * value.max(0.0) / longest;
        let class = if who.starts_with(OURS) { "ours" } else { "bar" };
        let (text, middle) = (escape(who), top + 15.0);
        let told = format!("{} {}", short(*value), escape(&chart.unit));
        let (before, after) = (LABEL - 8.0, LABEL + long + 6.0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{before}\" y=\"{middle}\" text-anchor=\"end\">{text}</text>\
             <rect class=\"{class}\" x=\"{LABEL}\" y=\"{top}\" width=\"{long:.1}\" height=\"20\"/>\
             <text x=\"{after:.1}\" y=\"{middle}\">{told}</text>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// What the bars of this program begin with.
const OURS: &str = "ultrasimple";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_the_whole_width() {
        let chart = Chart {
            title: "a < b".to_owned(),
            unit: "s".to_owned(),
            bars: vec![("ultrasimple".to_owned(), 1.0), ("other".to_owned(), 4.0)],
        };
        let svg = svg(&chart);
        assert!(svg.contains("<title>a &lt; b</title>"));
        assert!(svg.contains("class=\"ours\" x=\"210\" y=\"4\" width=\"100.0\""), "{svg}");
        assert!(svg.contains("class=\"bar\" x=\"210\" y=\"30\" width=\"400.0\""), "{svg}");
    }
}
