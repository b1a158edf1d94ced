//! What the operating system says of this process.

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::catalogue::{CPU_TIME, MEMORY, MOST_FILES, OPEN_FILES};
use crate::samples::Samples;

/// Adds what can be told of this process.
pub fn sample(samples: &mut Samples) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(Stat { ticks, pages }) = Stat::read(&stat) {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are out of reach")]
        let seconds = ticks as f64 / clock_ticks_per_second() as f64;
        samples.count(&MEMORY, pages * page_size() as u64);
        samples.real(&CPU_TIME, seconds);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory.
        samples.count(&OPEN_FILES, files.count().saturating_sub(1) as u64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        samples.count(&MOST_FILES, most);
    }
}

/// Of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system.
    ticks: u64,
    /// Resident.
    pages: u64,
}

impl Stat {
    fn read(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may have spaces in it.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        // From the third on; the 14th, 15th and 24th are wanted.
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let pages = fields.nth(8)?.parse().ok()?;
        Some(Self { ticks: user + system, pages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 1064 0 0 0 250 50 0 0 20 0 9 0 8 12345678 4321 18446744073709551615";
        assert_eq!(Stat::read(stat), Some(Stat { ticks: 300, pages: 4321 }));
        assert_eq!(Stat::read(""), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut samples = Samples::default();
        sample(&mut samples);
        for name in [MEMORY.name, CPU_TIME.name, OPEN_FILES.name, MOST_FILES.name] {
            assert_eq!(samples.of(name).count(), 1, "{name}");
        }
        let Some(crate::Value::Number(bytes)) =
            samples.of(MEMORY.name).map(|sample| &sample.value).next()
        else {
            panic!("no memory");
        };
        assert!((1e5..1e12).contains(bytes), "{bytes}");
    }
}
