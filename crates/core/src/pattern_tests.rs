//! The walk's step-by-step answers are compared with matching whole paths.

use proptest::prelude::*;

use super::*;

fn set(includes: &[&str], excludes: &[&str]) -> PatternSet {
    let parse = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    PatternSet::new(parse(includes), parse(excludes))
}

/// Walks to `path` as the scanner does.
fn walk(set: &PatternSet, path: &str) -> bool {
    let mut names: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let file = names.pop().unwrap();
    let reach = names.iter().fold(set.root(), |reach, name| {
        if let Look::Named(named) = set.look(&reach)
            && !named.contains(name)
        {
            return Reach::default();
        }
        set.descend(&reach, name.as_bytes(), false)
    });
    set.matches_file(&reach, file.as_bytes())
}

#[test]
fn paths_match() {
    for (pattern, path, matches) in [
        ("/data/*.db", "/data/a.db", true),
        ("/data/*.db", "/data/.a.db", true),
        ("/data/*.db", "/data/x/a.db", false),
        ("/data/a?.db", "/data/ab.db", true),
        ("/data/[ab].db", "/data/b.db", true),
        ("/data/[!ab].db", "/data/b.db", false),
        ("/data/**/*.db", "/data/a.db", true),
        ("/data/**/*.db", "/data/x/y/a.db", true),
        ("/data/**/t/**/*.db", "/data/x/t/a.db", true),
        ("/data/**/t/**/*.db", "/data/x/u/a.db", false),
        ("/d/{{region}}-*/{{t}}.db", "/d/eu-1/x.db", true),
        ("/d/{{region}}-*/{{t}}.db", "/d/eu/x.db", false),
        ("/d/only.db", "/d/only.db", true),
        ("/d/[[]x].db", "/d/[x].db", true),
    ] {
        let set = set(&[pattern], &[]);
        assert_eq!(set.find(path.as_bytes()).is_some(), matches, "{pattern} {path}");
        assert_eq!(walk(&set, path), matches, "walk: {pattern} {path}");
    }
}

#[test]
fn captures_are_what_the_braces_stand_for() {
    let find = |pattern: &str, path: &str| {
        let captures = Pattern::parse(pattern).unwrap().captures(path.as_bytes())?;
        let text = |(k, v): (String, Vec<u8>)| format!("{k}={}", String::from_utf8(v).unwrap());
        Some(captures.into_iter().map(text).collect::<Vec<_>>().join(" "))
    };
    for (pattern, path, expected) in [
        ("/srv/{{region}}/*/{{tenant}}.db", "/srv/eu/x/t1.db", "region=eu tenant=t1"),
        ("/s/{{a}}-{{b}}.db", "/s/x-y-z.db", "a=x b=y-z"),
        ("/s/*-{{b}}", "/s/x-y", "b=y"),
        ("/s/**/{{b}}", "/s/x/y", "b=y"),
    ] {
        assert_eq!(find(pattern, path).as_deref(), Some(expected), "{pattern}");
    }
}

#[test]
fn a_link_is_not_followed_by_double_star() {
    let set = set(&["/data/**/*.db", "/data/*/x.db"], &[]);
    let data = set.descend(&set.root(), b"data", false);
    let linked = set.descend(&data, b"link", true);
    assert!(set.matches_file(&linked, b"x.db"));
    assert!(!set.matches_file(&linked, b"y.db"));
}

#[test]
fn excludes_prune_files_and_directories() {
    let set = set(&["/data/**/*.db"], &["/data/*/cache", "/data/**/tmp-*.db"]);
    for (path, matches) in [
        ("/data/a/x.db", true),
        ("/data/a/cache/x.db", false),
        ("/data/a/cache/b/x.db", false),
        ("/data/cache/x.db", true),
        ("/data/a/b/tmp-1.db", false),
    ] {
        assert_eq!(set.find(path.as_bytes()).is_some(), matches, "{path}");
        assert_eq!(walk(&set, path), matches, "walk: {path}");
    }
}

#[test]
fn directories_of_which_only_names_matter_are_not_listed() {
    let set = set(&["/data/*/databases/*/t.db", "/data/x/more/*.db"], &[]);
    let reach = |path: &[&[u8]]| {
        path.iter().fold(set.root(), |reach, name| set.descend(&reach, name, false))
    };
    assert_eq!(set.look(&set.root()), Look::Named(vec!["data"]));
    assert_eq!(set.look(&reach(&[b"data"])), Look::List);
    assert_eq!(set.look(&reach(&[b"data", b"y"])), Look::Named(vec!["databases"]));
    assert_eq!(set.look(&reach(&[b"data", b"x"])), Look::Named(vec!["databases", "more"]));
    assert_eq!(set.look(&reach(&[b"data", b"x", b"databases", b"q"])), Look::List);
    assert!(reach(&[b"data", b"x", b"other"]).is_empty());
}

#[test]
fn the_literal_prefix() {
    for (pattern, prefix) in [
        ("/data/*/x.db", "/data"),
        ("/a/b/c.db", "/a/b"),
        ("/*.db", ""),
        ("/a/{{x}}/b.db", "/a"),
        ("/a/**/b.db", "/a"),
    ] {
        assert_eq!(Pattern::parse(pattern).unwrap().literal_prefix(), prefix, "{pattern}");
    }
}

#[test]
fn bad_patterns_are_refused_by_name() {
    for bad in [
        "",
        "data/*.db",
        "/",
        "/data/",
        "/data//x.db",
        "/data/../x.db",
        "/data/**",
        "/a**/b.db",
        "/data/[.db",
        "/data/{{x.db",
        "/data/{{}}.db",
        "/data/{{a b}}.db",
        "/d/{{a}}{{b}}.db",
    ] {
        let error = Pattern::parse(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?}")), "{error}");
    }
}

proptest! {
    /// The walk finds exactly the paths that match as a whole.
    #[test]
    fn walking_is_matching(
        includes in proptest::collection::vec("(/(a|b|\\*|\\?|\\*\\*|a\\*)){0,4}/(a|b|\\*|\\*b)", 1..4),
        excludes in proptest::collection::vec("(/(a|b|\\*|\\*\\*)){0,3}/(a|b|a\\*)", 0..2),
        path in "(/(a|b|ab|c)){1,5}",
    ) {
        let texts = |texts: &[String]| -> Vec<Pattern> {
            texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
        };
        let set = PatternSet::new(texts(&includes), texts(&excludes));
        prop_assert_eq!(walk(&set, &path), set.find(path.as_bytes()).is_some());
    }

    #[test]
    fn parsing_never_panics(text in ".{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.captures(text.as_bytes());
        }
    }
}
