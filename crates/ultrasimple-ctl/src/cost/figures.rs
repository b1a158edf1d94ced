//! How figures are written: numbers, money, bytes, time spans.

use std::time::Duration;

use ultrasimple_core::config::DurationText;

/// From here on nobody counts digits.
const ABSURD: f64 = 1e13;
/// From here on nobody wants digits behind the point.
const LARGE: f64 = 1e6;

/// `1,728,000`, `0.5`, `12.35`: with two digits behind the point where there are any and they count.
pub(crate) fn number(number: f64) -> String {
    if number.abs() >= ABSURD {
        return format!("{number:.2e}");
    }
    let digits = if number.abs() >= LARGE { 0 } else { 2 };
    let text = format!("{number:.digits$}");
    let has_point = text.contains('.');
    let text = if has_point { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, rest) = text.split_once('.').map_or((text, None), |(w, r)| (w, Some(r)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map(|rest| format!("{grouped}.{rest}")).unwrap_or(grouped)
}

/// To the cent: `$216.00`. What is less than half a cent, but something, is `<$0.01`.
pub(crate) fn money(currency: &str, amount: f64) -> String {
    let symbol = match currency {
        "USD" => "$".to_owned(),
        "EUR" => "€".to_owned(),
        other => format!("{other} "),
    };
    if amount > 0.0 && amount < 0.005 {
        return format!("<{symbol}0.01");
    }
    if amount.abs() >= ABSURD {
        return format!("{symbol}{amount:.2e}");
    }
    let sign = if amount <= -0.005 { "-" } else { "" };
    let cents = (amount.abs() * 100.0).round();
    let (whole, rest) = ((cents / 100.0).floor(), cents % 100.0);
    format!("{sign}{symbol}{}.{rest:02}", number(whole))
}

/// `102.4 KiB`
pub(crate) fn bytes(bytes: f64) -> String {
    let (mut amount, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if amount < 1_024.0 {
            break;
        }
        (amount, unit) = (amount / 1_024.0, larger);
    }
    format!("{} {unit}", number(amount))
}

/// `7.5s`, `5m`, `1h 30m`: to the second, from a minute on.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{}s", number(seconds));
    }
    let span = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX);
    DurationText(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (999.999, "1,000"),
            (1_728_000.0, "1,728,000"),
            (-1_234.5, "-1,234.5"),
            (100_000.0, "100,000"),
            (2_000_000.4, "2,000,000"),
            (2.5e18, "2.50e18"),
        ] {
            assert_eq!(number(value), text);
        }
        for (amount, text) in [
            (0.0, "$0.00"),
            (0.864, "$0.86"),
            (0.004, "<$0.01"),
            (0.005, "$0.01"),
            (1_999.999, "$2,000.00"),
            (-4.32, "-$4.32"),
            (-0.001, "$0.00"),
        ] {
            assert_eq!(money("USD", amount), text);
        }
        assert_eq!(money("CHF", 1.0), "CHF 1.00");
        assert_eq!((bytes(512.0), bytes(262_144.0 * 0.4)), ("512 B".into(), "102.4 KiB".into()));
        assert_eq!(
            (span(7.5), span(300.0), span(0.25)),
            ("7.5s".into(), "5m".into(), "0.25s".into())
        );
    }
}
