//! HTML that cannot be broken by what is in it.
//!
//! Markup is text of this program (`&'static str`), everything else is a value and is escaped: the types leave no other
//! way. A path can hold anything but NUL and `/`, another node may answer anything: `<script>`, quotes, characters that
//! turn the direction of text or that nobody sees. All of it is shown, as text, in one line.

use std::fmt::{Display, Write as _};

/// A piece of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup, with each `{}` in it replaced by the next of the values, escaped for text and for attributes in
    /// double quotes.
    pub(super) fn put(&mut self, markup: &'static str, values: &[&dyn Display]) {
        let mut values = values.iter();
        let mut rest = markup;
        while let Some((before, after)) = rest.split_once("{}") {
            self.0.push_str(before);
            let value = values.next();
            debug_assert!(value.is_some(), "too few values for {markup:?}");
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(Escaped(&mut self.0), "{value}");
            }
            rest = after;
        }
        debug_assert!(values.next().is_none(), "too many values for {markup:?}");
        self.0.push_str(rest);
    }

    /// Adds markup as it is.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c if is_treacherous(c) => {
                    let _ = write!(self.0, "\u{27e8}U+{:04X}\u{27e9}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Whether a character is not seen, or changes how others are seen: controls, directions, joiners, what may not be in
/// HTML.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
        || (u32::from(c) & 0xfffe) == 0xfffe
}

/// `n` with commas between thousands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) u64);

impl Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        let first = (digits.len() - 1) % 3 + 1;
        let (head, tail) = digits.split_at(first);
        f.write_str(head)?;
        for three in tail.as_bytes().chunks(3) {
            write!(f, ",{}", String::from_utf8_lossy(three))?;
        }
        Ok(())
    }
}

/// A number with its noun: `1 shard`, `2,000 shards`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of(pub(super) u64, pub(super) &'static str);

impl Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}{}", Count(self.0), self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// Bytes, as people say them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut left, mut unit) = (self.0, 0);
        let mut tenths = 0;
        while left >= 1_024 && unit + 1 < UNITS.len() {
            tenths = left % 1_024 * 10 / 1_024;
            left /= 1_024;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or_default();
        if unit == 0 { write!(f, "{left} {name}") } else { write!(f, "{left}.{tenths} {name}") }
    }
}

/// A time span, as people say it: what tells most at a glance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) f64);

impl Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.max(0.0);
        if seconds < 1.0 {
            return if seconds < 0.000_5 {
                f.write_str("0 s")
            } else {
                write!(f, "{:.0} ms", seconds * 1e3)
            };
        }
        if seconds < 59.95 {
            return write!(f, "{seconds:.1} s");
        }
        let whole =
            std::time::Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |it| it.as_secs());
        match (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60) {
            (0, 0, minutes, seconds) => write!(f, "{minutes} min {seconds} s"),
            (0, hours, minutes, _) => write!(f, "{hours} h {minutes} min"),
            (days, hours, ..) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_whatever_they_hold() {
        let mut html = Html::default();
        html.put("<a href=\"{}\">{}</a>", &[&"\"><script>", &"</a><script>alert('x')&\0\u{202e}"]);
        assert_eq!(
            html.as_str(),
            "<a href=\"&quot;&gt;&lt;script&gt;\">&lt;/a&gt;&lt;script&gt;alert(&#39;x&#39;)&amp;\u{27e8}U+0000\u{27e9}\
             \u{27e8}U+202E\u{27e9}</a>"
        );
    }

    #[test]
    fn what_is_in_a_value_is_no_place_for_another() {
        let mut html = Html::default();
        html.put("{}-{}", &[&"{}", &"b"]);
        assert_eq!(html.as_str(), "{}-b");
    }

    #[test]
    fn characters_that_deceive_are_named() {
        for c in "\u{200b}\u{200d}\u{200e}\u{202a}\u{2066}\u{2069}\u{feff}\u{ad}\n\t\u{7f}\u{85}\u{fffe}\u{e0041}".chars() {
            let mut html = Html::default();
            html.put("{}", &[&c]);
            assert_eq!(html.as_str(), format!("\u{27e8}U+{:04X}\u{27e9}", u32::from(c)));
        }
        let mut html = Html::default();
        html.put("{}", &[&"zoë 日本 ß"]);
        assert_eq!(html.as_str(), "zoë 日本 ß");
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), text);
        }
        assert_eq!(
            (Of(1, "shard").to_string(), Of(2, "shard").to_string()),
            ("1 shard".into(), "2 shards".into())
        );
        for (bytes, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (u64::MAX, "16383.9 PiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        for (seconds, text) in [
            (0.0, "0 s"),
            (0.012, "12 ms"),
            (4.25, "4.2 s"),
            (75.0, "1 min 15 s"),
            (7_260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(Span(seconds).to_string(), text, "{seconds}");
        }
    }
}
