//! Figures with their units, told as they are found.

use serde_json::{Value, json};

/// What a bench found, in the order in which it found it.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Figures {
    /// Tells a figure and keeps it.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        let name = name.into();
        println!("{:>14}  {name}", format!("{} {unit}", short(value)));
        self.0.push(Figure { name, value, unit });
    }

    /// For the file.
    pub(crate) fn json(&self) -> Value {
        let figure = |Figure { name, value, unit }: &Figure| json!({ "name": name, "value": value, "unit": unit });
        self.0.iter().map(figure).collect()
    }
}

/// Three significant digits, or all before the point.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// A count, as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let told: Vec<_> = [1_234.56, 12.345, 1.234_5, 0.123_45, 0.001_23].map(short).into();
        assert_eq!(told, ["1235", "12.3", "1.23", "0.123", "0.0012"]);
    }
}
