//! Names and numbers that must not be mixed up, parsed at the border.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} name {name:?} is not valid: use 1 to 63 characters of a-z, A-Z, 0-9, '.', '_' and '-', \
     beginning with a letter or digit"
)]
pub struct InvalidName {
    kind: &'static str,
    name: String,
}

fn check_name(kind: &'static str, name: &str) -> Result<(), InvalidName> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inner);
    if fits { Ok(()) } else { Err(InvalidName { kind, name: name.to_owned() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check_name($kind, name)?;
                Ok(Self(name.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A named storage that one or more nodes mount. A database belongs to exactly one.
    VolumeName,
    "volume"
);
name!(
    /// A node: one running daemon.
    NodeName,
    "node"
);
name!(
    /// A cluster: what the nodes of one fleet share, in etcd and in a bucket.
    ClusterName,
    "cluster"
);

/// A fixed hash slice of a volume's databases; the unit of ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// A fencing token: of two owners, the one with the greater epoch is the later one.
///
/// Made of a generation and a revision, so that it reads as such: 7,000,000,000,042 is revision 42 of generation 7.
/// A generation is one grantor: one start of a node without etcd, or one history of an etcd. The revision is the
/// one at which etcd created the claim; without etcd it is 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Revisions in a generation: 300 years of 100 a second.
    const REVISIONS: u64 = 1_000_000_000_000;

    /// The epoch of a claim that was created at `revision` of a generation.
    pub fn new(generation: u64, revision: u64) -> Self {
        let revision = revision.min(Self::REVISIONS - 1);
        Self(generation.saturating_mul(Self::REVISIONS).saturating_add(revision))
    }

    /// Who granted it.
    pub fn generation(self) -> u64 {
        self.0 / Self::REVISIONS
    }

    /// When, as that grantor counts.
    pub fn revision(self) -> u64 {
        self.0 % Self::REVISIONS
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_ordered_by_generation_then_revision() {
        let epoch = Epoch::new(7, 42);
        assert_eq!(
            (epoch.to_string().as_str(), epoch.generation(), epoch.revision()),
            ("7000000000042", 7, 42)
        );
        assert!(Epoch::new(7, 43) > epoch && Epoch::new(8, 0) > Epoch::new(7, u64::MAX));
        assert_eq!(Epoch::new(u64::MAX, 1), Epoch(u64::MAX));
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "db-01.example_x", "0", &"n".repeat(63)] {
            assert_eq!(good.parse::<VolumeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ü", "a\n", &"n".repeat(64)] {
            let error = bad.parse::<NodeName>().unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
        assert!(serde_json::from_str::<NodeName>("\"a/b\"").is_err());
    }
}
