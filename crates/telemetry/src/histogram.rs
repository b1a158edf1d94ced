//! A distribution, counted as it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use ultrasimple_core::Timestamp;
use ultrasimple_trace::Context;

use crate::catalogue::{Instrument, Kind};
use crate::samples::words;

/// How often something took how long. Cheap: three additions.
#[derive(Debug)]
pub struct Histogram {
    instrument: &'static Instrument,
    bounds: &'static [f64],
    cells: Vec<Cell>,
    /// Where they are told one by one, too: a histogram cannot be observed through OpenTelemetry's interface.
    twin: OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

#[derive(Debug)]
struct Cell {
    word: Option<&'static str>,
    /// One for each bound, and one for what is above all of them.
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
    /// The last one that a trace tells of, for each bucket; empty before there is any.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

/// One of those that were counted, and where there is more about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// Its span.
    pub context: Context,
    /// When it was counted.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// What a histogram has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// For each upper bound in seconds, how often it took no longer.
    pub buckets: Vec<(f64, u64)>,
    /// How often in all.
    pub count: u64,
    /// How long in all, in seconds.
    pub sum: f64,
    /// For each bucket, and for what is above all bounds, one of those in it. Empty where nothing is traced.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    /// An empty one; of an instrument that is no histogram, it has one bucket for all.
    pub fn new(instrument: &'static Instrument) -> Self {
        let bounds = match instrument.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        let cell = |word| Cell {
            word,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::default()).collect(),
            sum_us: AtomicU64::default(),
            exemplars: Mutex::default(),
        };
        let cells = match words(instrument) {
            [] => vec![cell(None)],
            words => words.iter().map(|word| cell(Some(*word))).collect(),
        };
        Self { instrument, bounds, cells, twin: OnceLock::new() }
    }

    /// Which.
    pub fn instrument(&self) -> &'static Instrument {
        self.instrument
    }

    /// It took so long. `word`: the value of the instrument's label; what is no word of it is not counted.
    pub fn record(&self, word: Option<&'static str>, took: Duration) {
        self.record_with(word, took, None);
    }

    /// The same, of what a trace may tell more of.
    pub fn record_with(
        &self,
        word: Option<&'static str>,
        took: Duration,
        exemplar: Option<Exemplar>,
    ) {
        let Some(cell) = self.cells.iter().find(|cell| cell.word == word) else { return };
        let seconds = took.as_secs_f64();
        let above = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = cell.buckets.get(above) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if exemplar.is_some() {
            let mut exemplars = cell.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
            exemplars.resize(cell.buckets.len(), None);
            if let Some(place) = exemplars.get_mut(above) {
                *place = exemplar;
            }
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        cell.sum_us.fetch_add(us, Ordering::Relaxed);
        if let Some(twin) = self.twin.get() {
            match self.instrument.label.zip(word) {
                Some((label, word)) => twin.record(seconds, &[KeyValue::new(label.name, word)]),
                None => twin.record(seconds, &[]),
            }
        }
    }

    /// From now on it is told to `twin`, too.
    pub(crate) fn twin(&self, twin: opentelemetry::metrics::Histogram<f64>) {
        let _ = self.twin.set(twin);
    }

    pub(crate) fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// What it has seen, by the words of its label.
    pub fn read(&self) -> impl Iterator<Item = (Option<&'static str>, Reading)> + '_ {
        self.cells.iter().map(|cell| (cell.word, cell.read(self.bounds)))
    }
}

impl Cell {
    fn read(&self, bounds: &[f64]) -> Reading {
        let mut count = 0;
        let mut up_to = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let buckets = bounds.iter().copied().zip(up_to.by_ref()).collect();
        // What is above all bounds.
        let _ = up_to.count();
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Reading { buckets, count, sum, exemplars }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{EXPOSURE, UPLOAD_DURATION};

    #[test]
    fn a_bucket_holds_what_took_no_longer_than_its_bound() {
        let histogram = Histogram::new(&EXPOSURE);
        for ms in [0, 1_000, 1_001, 2_500, 86_400_001] {
            histogram.record(None, Duration::from_millis(ms));
        }
        let (_, reading) = histogram.read().next().unwrap();
        assert_eq!(
            reading.buckets.iter().map(|(_, count)| *count).take(3).collect::<Vec<_>>(),
            [2, 4, 4]
        );
        assert_eq!((reading.buckets.last().unwrap().1, reading.count), (4, 5));
        assert!((reading.sum - 86_404.502).abs() < 1e-6, "{}", reading.sum);
    }

    #[test]
    fn each_word_has_its_own() {
        let histogram = Histogram::new(&UPLOAD_DURATION);
        histogram.record(Some("failed"), Duration::from_secs(1));
        histogram.record(Some("no such word"), Duration::from_secs(1));
        histogram.record(None, Duration::from_secs(1));
        let counts: Vec<_> =
            histogram.read().map(|(word, reading)| (word, reading.count)).collect();
        let failed = counts.iter().find(|(word, _)| *word == Some("failed"));
        assert_eq!((counts.len(), failed), (5, Some(&(Some("failed"), 1))));
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
