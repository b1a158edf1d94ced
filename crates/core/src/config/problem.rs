//! What is wrong with a configuration: all of it at once.

use std::fmt;

use super::{Origin, Setting};

/// One thing that is wrong, as a line for people. It never has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    /// A setting's value is not usable: where it was given, what it is, and why it does not do.
    pub fn value(setting: Setting, origin: &Origin, word: &str, why: impl fmt::Display) -> Self {
        let shown = if setting.is_secret() { "(not shown)" } else { word };
        Self(format!("{}: {why}", origin.describe(setting, shown)))
    }

    /// Anything else.
    pub fn other(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one more.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        self.0.extend(problems);
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::error::Error for Problems {}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Of `candidates`, the one that `word` was probably meant to be: at most a third of its letters are
/// wrong.
pub fn nearest<I>(word: &str, candidates: I) -> Option<String>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    let word: Vec<char> = word.to_lowercase().replace('_', "-").chars().take(100).collect();
    candidates
        .into_iter()
        .map(|candidate| {
            let candidate = candidate.into();
            let letters: Vec<char> = candidate.to_lowercase().replace('_', "-").chars().collect();
            (distance(&word, &letters), letters.len(), candidate)
        })
        .filter(|&(distance, length, _)| distance <= length.max(3) / 3)
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// Letters to insert, delete or replace to make one word of the other (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for ((y, &above), &diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
