//! Figures with their units, told as they are found, and what they were hoped to be.

use serde::{Deserialize, Serialize};

/// What a bench found, in the order in which it found it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "what the files call them")]
pub(crate) struct Figures {
    pub(crate) figures: Vec<Figure>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) charts: Vec<Chart>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// A figure that was to be within a bound.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) bound: Bound,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// The same of several programs, side by side: less is better.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) bars: Vec<(String, f64)>,
}

impl Figures {
    /// Tells a figure and keeps it.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        let name = name.into();
        println!("{:>14}  {name}", format!("{} {unit}", short(value)));
        self.figures.push(Figure { name, value, unit: unit.to_owned() });
    }

    /// Tells a figure of each of several programs, and keeps them side by side.
    pub(crate) fn compare<'a>(
        &mut self,
        title: impl Into<String>,
        unit: &str,
        bars: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let title = title.into();
        let bars: Vec<_> = bars.into_iter().map(|(who, value)| (who.to_owned(), value)).collect();
        for (who, value) in &bars {
            println!("{:>14}  {title}: {who}", format!("{} {unit}", short(*value)));
        }
        self.charts.push(Chart { title, unit: unit.to_owned(), bars });
    }

    /// Tells a figure and whether it is what it was hoped to be, and keeps both.
    pub(crate) fn goal(&mut self, name: impl Into<String>, value: f64, unit: &str, bound: Bound) {
        let goal = Goal { name: name.into(), value, unit: unit.to_owned(), bound };
        let is_reached = if goal.is_reached() { "reached" } else { "NOT reached" };
        let told = format!("{} {unit}", short(value));
        println!("{told:>14}  {}: goal {} {is_reached}", goal.name, goal.wanted());
        self.goals.push(goal);
    }
}

impl Goal {
    pub(crate) fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.value >= least,
            Bound::AtMost(most) => self.value <= most,
        }
    }

    /// As it is written: `≥ 5 ×`.
    pub(crate) fn wanted(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::AtLeast(least) => ('≥', least),
            Bound::AtMost(most) => ('≤', most),
        };
        format!("{sign} {bound} {}", self.unit).trim_end().to_owned()
    }
}

/// Three significant digits, or all before the point.
pub(crate) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.001 => 4,
        _ => 6,
    };
    format!("{value:.decimals$}")
}

/// A count, as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count| count as f64)
}

/// The one in the middle; of an even number, the lower of the two. Not a number where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let told: Vec<_> = [1_234.56, 12.345, 1.234_5, 0.123_45, 0.001_23, 0.0].map(short).into();
        assert_eq!(told, ["1235", "12.3", "1.23", "0.123", "0.0012", "0"]);
    }

    #[test]
    fn a_goal_is_reached_at_its_bound() {
        let goal = |value, bound| Goal { name: String::new(), value, unit: "×".to_owned(), bound };
        let goals = [
            (goal(5.0, Bound::AtLeast(5.0)), true, "≥ 5 ×"),
            (goal(4.9, Bound::AtLeast(5.0)), false, "≥ 5 ×"),
            (goal(1.3, Bound::AtMost(1.3)), true, "≤ 1.3 ×"),
            (goal(1.4, Bound::AtMost(1.3)), false, "≤ 1.3 ×"),
            (goal(f64::NAN, Bound::AtMost(1.3)), false, "≤ 1.3 ×"),
        ];
        for (goal, is_reached, wanted) in goals {
            assert_eq!((goal.is_reached(), goal.wanted().as_str()), (is_reached, wanted));
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(vec![]).is_nan());
    }
}
