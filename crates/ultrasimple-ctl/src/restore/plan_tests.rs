//! Where databases go, and that nothing a footer says leads out.

use std::path::Component;

use proptest::prelude::*;

use super::*;
use crate::testing::stem;

fn made(sources: &[(&str, &str, &[u8])], by_volume: bool) -> Plan {
    let owned: Vec<_> = sources
        .iter()
        .map(|(name, volume, path)| {
            (stem(name), volume.parse::<VolumeName>().unwrap(), SourcePath::from_bytes(path))
        })
        .collect();
    let sources: Vec<_> =
        owned.iter().map(|(stem, volume, path)| Source { stem, volume, path }).collect();
    plan(&sources, by_volume)
}

#[test]
fn source_paths_are_kept() {
    let plan = made(&[("a", "v", b"/data/a.db"), ("b", "v", b"/data/x/b \xff.db")], false);
    assert!(!plan.by_volume);
    assert_eq!(plan.places[&stem("a")], Ok("data/a.db".into()));
    let odd = PathBuf::from(OsStr::from_bytes(b"data/x/b \xff.db"));
    assert_eq!(plan.places[&stem("b")], Ok(odd));
}

#[test]
fn several_volumes_are_kept_apart() {
    let plan = made(&[("a", "v1", b"/d/a.db"), ("b", "v2", b"/d/a.db")], false);
    assert!(plan.by_volume);
    assert_eq!(plan.places[&stem("a")], Ok("v1/d/a.db".into()));
    assert_eq!(plan.places[&stem("b")], Ok("v2/d/a.db".into()));
    assert!(made(&[("a", "v1", b"/d/a.db")], true).by_volume);
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in [
        &b""[..],
        b"/",
        b"//",
        b"etc/passwd",
        b"../x",
        b"/../x",
        b"/a/../../x",
        b"/a/..",
        b"/a/./b",
        b"/a//b",
        b"/a/",
        b"/a\0b",
        b"/data/t1.db-wal",
        b"/data/t1.db-shm",
        b"/data/t1.db-journal",
        &[b"/", &[b'n'; 256][..]].concat(),
    ] {
        let plan = made(&[("a", "v", path)], false);
        let error = plan.places[&stem("a")].clone().unwrap_err();
        assert!(error.contains("restore it alone"), "{error}");
    }
}

#[test]
fn of_two_with_one_place_none_is_restored() {
    for (one, two) in [("/d/a.db", "/d/a.db"), ("/d", "/d/a.db"), ("/d/a.db/b/c", "/d/a.db")] {
        let (one, two) = (one.as_bytes(), two.as_bytes());
        let plan = made(&[("a", "v", one), ("b", "v", two), ("c", "v", b"/d2")], false);
        assert!(plan.places[&stem("a")].clone().unwrap_err().starts_with("b has the same"));
        assert!(plan.places[&stem("b")].clone().unwrap_err().starts_with("a has the same"));
        assert!(plan.places[&stem("c")].is_ok());
    }
}

proptest! {
    #[test]
    fn what_is_let_through_stays_below_and_apart(
        paths in proptest::collection::vec("/?([ab.]{0,2}/){0,3}[ab.\0]{0,2}(-wal)?", 0..8),
        by_volume: bool,
    ) {
        let names: Vec<_> = (0..paths.len()).map(|n| format!("s{n}")).collect();
        let sources: Vec<_> = names.iter().zip(&paths).enumerate()
            .map(|(n, (name, path))| (name.as_str(), ["v1", "v2"][n % 2], path.as_bytes()))
            .collect();
        let plan = made(&sources, by_volume);
        prop_assert_eq!(plan.places.len(), paths.len());
        let through: Vec<_> = plan.places.values().flatten().collect();
        for (n, path) in through.iter().enumerate() {
            prop_assert!(path.components().count() > 0);
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            for (m, other) in through.iter().enumerate() {
                prop_assert!(n == m || !path.starts_with(other));
            }
        }
    }
}
