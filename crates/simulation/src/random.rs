//! The one source of chance: the same seed gives the same numbers for ever.

use std::time::Duration;

/// xoshiro256++, seeded by splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random([u64; 4]);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self([next(), next(), next(), next()])
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c2, d2) = (c ^ a, d ^ b);
        self.0 = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The bias is far below what any number of seeds could show.
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// An index of something with so many elements.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// A time between these two.
    pub(crate) fn duration(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        least + Duration::from_nanos(self.below(span.saturating_add(1)))
    }

    /// As [`Self::duration`], in milliseconds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.duration(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.index(all.len()))
    }

    /// Takes one out.
    pub(crate) fn take<T>(&mut self, all: &mut Vec<T>) -> Option<T> {
        if all.is_empty() {
            return None;
        }
        let at = self.index(all.len());
        Some(all.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(7);
        let first = [random.next(), random.next(), random.next()];
        let mut again = Random::new(7);
        assert_eq!(first, [again.next(), again.next(), again.next()]);
        assert_ne!(first[0], Random::new(8).next());
    }

    #[test]
    fn numbers_are_spread_over_their_range() {
        let mut random = Random::new(1);
        let mut counts = [0; 5];
        (0..5_000).for_each(|_| counts[random.index(5)] += 1);
        assert!(counts.iter().all(|&count| (900..1_100).contains(&count)), "{counts:?}");
        let hits = (0..10_000).filter(|_| random.chance(100)).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        assert_eq!(random.below(0), 0);
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!((0..100).all(|_| (least..=most).contains(&random.duration(least, most))));
    }
}
