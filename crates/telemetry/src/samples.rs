//! The numbers of one moment.

use crate::catalogue::{Instrument, Label, OTHER, Values};
use crate::histogram::{Histogram, Reading};

/// Who knows the numbers.
pub trait Source: Send + Sync {
    /// All of them, as they are now. Must not wait for anything.
    fn samples(&self) -> Samples;
}

/// A number, or a distribution.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Reading),
}

/// What one instrument says with one value of its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose.
    pub instrument: &'static Instrument,
    /// The value of its label, if it has one.
    pub word: Option<&'static str>,
    /// What it says.
    pub value: Value,
}

/// See the module. Those of one instrument follow each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter()
    }

    /// Those of one instrument.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.instrument.name == name)
    }

    /// How often something happened, or how many there are.
    #[expect(clippy::cast_precision_loss, reason = "2^53 of anything are out of reach")]
    pub fn count(&mut self, instrument: &'static Instrument, count: u64) {
        self.real(instrument, count as f64);
    }

    /// A number that need not be whole.
    pub fn real(&mut self, instrument: &'static Instrument, number: f64) {
        self.push(instrument, None, Value::Number(number));
    }

    /// The same, split by the instrument's label.
    pub fn counts(
        &mut self,
        instrument: &'static Instrument,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        for (word, count) in counts {
            #[expect(clippy::cast_precision_loss, reason = "2^53 of anything are out of reach")]
            self.push(instrument, Some(word), Value::Number(count as f64));
        }
    }

    /// Numbers that need not be whole, split by the instrument's label.
    pub fn reals(
        &mut self,
        instrument: &'static Instrument,
        numbers: impl IntoIterator<Item = (&'static str, f64)>,
    ) {
        for (word, number) in numbers {
            self.push(instrument, Some(word), Value::Number(number));
        }
    }

    /// Counts by words of which not all may be known: there is a number for each word of the label, and what it has no
    /// word for counts as [`OTHER`].
    pub fn counts_by_word<'a>(
        &mut self,
        instrument: &'static Instrument,
        counts: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let words = words(instrument);
        let mut sums = vec![0; words.len()];
        for (word, count) in counts {
            let known = words.iter().position(|known| *known == word);
            let at = known.or_else(|| words.iter().position(|known| *known == OTHER));
            if let Some(sum) = at.and_then(|at| sums.get_mut(at)) {
                *sum += count;
            }
        }
        self.counts(instrument, words.iter().copied().zip(sums));
    }

    /// All that a histogram has seen.
    pub fn distribution(&mut self, histogram: &Histogram) {
        for (word, reading) in histogram.read() {
            self.push(histogram.instrument(), word, Value::Distribution(reading));
        }
    }

    fn push(&mut self, instrument: &'static Instrument, word: Option<&'static str>, value: Value) {
        debug_assert_eq!(instrument.label.is_some(), word.is_some(), "{}", instrument.name);
        self.0.push(Sample { instrument, word, value });
    }
}

/// The words that the instrument's label can have.
pub(crate) fn words(instrument: &Instrument) -> &'static [&'static str] {
    match instrument.label {
        Some(Label { values: Values::Words(words), .. }) => words,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::BACKUPS_FAILED;

    #[test]
    fn what_there_is_no_word_for_is_counted_all_the_same() {
        let mut samples = Samples::default();
        samples.counts_by_word(&BACKUPS_FAILED, [("busy", 2), ("new", 3), ("newer", 4)]);
        let counted = samples.of(BACKUPS_FAILED.name);
        let counted = counted.filter(|sample| sample.value != Value::Number(0.0));
        let counted: Vec<_> = counted.map(|sample| (sample.word, &sample.value)).collect();
        let (busy, other) = (Value::Number(2.0), Value::Number(7.0));
        assert_eq!(counted, [(Some("busy"), &busy), (Some(OTHER), &other)]);
        assert_eq!(samples.iter().count(), words(&BACKUPS_FAILED).len());
    }
}
