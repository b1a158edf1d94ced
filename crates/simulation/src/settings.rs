//! What a world is made of, drawn from its seed.

use std::time::Duration;

use ultrasimple_core::config::{KeepSettings, VerifyPercent};
use ultrasimple_core::retention::RetentionRules;

use crate::network::Quality;
use crate::random::Random;

/// The same in all nodes of a world.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) nodes: usize,
    /// Of each volume.
    pub(crate) shards: u32,
    pub(crate) databases: usize,
    pub(crate) lease_ttl: Duration,
    pub(crate) interval: Duration,
    pub(crate) concurrent: usize,
    /// How long what is in flight may take when a shard is given back.
    pub(crate) drain: Duration,
    /// How long the driver waits for etcd.
    pub(crate) etcd_deadline: Duration,
    pub(crate) store_deadline: Duration,
    pub(crate) rules: RetentionRules,
    pub(crate) quality: Quality,
    /// By how much a monotonic clock may be fast or slow, in a million.
    pub(crate) drift: i64,
    /// By how many milliseconds a wall clock may be wrong.
    pub(crate) skew: i64,
    /// How long things go wrong.
    pub(crate) trouble: Duration,
    /// In a thousand: captures after which a change may not show.
    pub(crate) unsettled: u32,
}

impl Settings {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let lease_ttl = random.duration(Duration::from_secs(8), Duration::from_secs(20));
        let keep = ["hourly=1", "hourly=2", "hourly=3", "hourly=2,daily=2"];
        let keep = random.pick(&keep).and_then(|keep| keep.parse().ok());
        let rules = RetentionRules::new(30, keep).unwrap_or_default();
        let quality = match random.below(4) {
            0 => Quality::GOOD,
            1 => Quality { slow: 20, late: Duration::from_secs(8), ..Quality::GOOD },
            2 => Quality {
                most: Duration::from_millis(200),
                slow: 30,
                late: Duration::from_secs(40),
                lost: 10,
                twice: 10,
                ..Quality::GOOD
            },
            _ => Quality {
                most: Duration::from_millis(500),
                slow: 60,
                late: Duration::from_secs(90),
                lost: 40,
                twice: 30,
                ..Quality::GOOD
            },
        };
        Self {
            nodes: 3 + random.index(3),
            shards: 2 + u32::try_from(random.below(3)).unwrap_or(0),
            databases: 6 + random.index(5),
            lease_ttl,
            interval: random.duration(Duration::from_secs(8), Duration::from_secs(20)),
            concurrent: 1 + random.index(6),
            drain: random.duration(Duration::from_secs(3), Duration::from_secs(30)),
            etcd_deadline: lease_ttl / 3,
            store_deadline: random.duration(Duration::from_secs(5), Duration::from_secs(45)),
            rules,
            quality,
            drift: *random.pick(&[0, 1_000, 50_000]).unwrap_or(&0),
            skew: *random.pick(&[0, 500, 20_000, 14 * 60_000]).unwrap_or(&0),
            trouble: random.duration(Duration::from_mins(2), Duration::from_mins(6)),
            unsettled: *random.pick(&[0, 50, 300]).unwrap_or(&0),
        }
    }

    /// How long backups are kept: nothing is verified, as no images are real here.
    pub(crate) fn keep(&self) -> KeepSettings {
        KeepSettings {
            retention: self.rules,
            verify_percent_per_day: VerifyPercent::OFF,
            reconcile_requests: 0,
        }
    }
}
