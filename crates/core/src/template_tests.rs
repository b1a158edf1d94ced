//! The documented expansions, and keys that stay safe whatever a path is called.

use crate::path::without_db;
use proptest::prelude::*;

use super::*;
use crate::key::MAX_KEY_BYTES;
use crate::pattern::Pattern;

fn expand(template: Option<&str>, pattern: &str, path: &[u8]) -> Result<String, TemplateError> {
    let patterns = PatternSet::new(vec![Pattern::parse(pattern).unwrap()], vec![]);
    let template =
        template.map_or_else(PathTemplate::standard, |t| PathTemplate::parse(t).unwrap());
    let (volume, node) = ("vol".parse().unwrap(), "node-1".parse().unwrap());
    let setting =
        Setting { patterns: &patterns, volume: &volume, node: &node, max_key_bytes: MAX_KEY_BYTES };
    template.expand(&SourcePath::from_bytes(path), setting).map(|stem| stem.to_string())
}

#[test]
fn documented_expansions() {
    let tree = "/data/*/databases/*/branches/*/tenants/*.db";
    for (template, pattern, path, stem) in [
        (
            None,
            tree,
            "/data/acme/databases/users/branches/main/tenants/t1.db",
            "acme/users/main/t1/t1",
        ),
        (None, "/your/databases/*.db", "/your/databases/x.db", "x"),
        (None, "/srv/**/*.db", "/srv/a/b/x.db", "a/b/x"),
        (None, "/srv/*/x.sqlite", "/srv/a/x.sqlite", "a/x.sqlite"),
        (
            Some("{{tenant}}/{{database}}"),
            "/data/tenants/*/databases/*.db",
            "/data/tenants/acme/databases/users.db",
            "acme/users/users",
        ),
        (
            Some("{{region}}/{{tenant}}"),
            "/srv/{{region}}/*/{{tenant}}.db",
            "/srv/eu/x/t1.db",
            "eu/t1/t1",
        ),
        (Some("v-{{volume}}/{{node}}/{{name}}"), "/s/*.db", "/s/a.db", "v-vol/node-1/a/a"),
        (Some("b/{{path}}"), "/s/**/*.db", "/s/a.db", "b/a"),
        (
            Some("{{project}}"),
            "/home/*/projects/*/data/*.db",
            "/home/u/projects/p/data/x.db",
            "p/x",
        ),
        (Some("{{project}}"), "/data/**/*.db", "/data/p/x.db", "p/x"),
        (Some("{{city}}"), "/cities/*/*.db", "/cities/rome/x.db", "rome/x"),
    ] {
        assert_eq!(expand(template, pattern, path.as_bytes()).unwrap(), stem, "{path}");
    }
}

#[test]
fn a_variable_without_a_value_is_an_error() {
    let error = expand(Some("{{tenant}}"), "/s/*.db", b"/s/a.db").unwrap_err().to_string();
    assert!(error.contains("{{tenant}}") && error.contains("'tenants'"), "{error}");
    // The component after `tenants/` must exist.
    assert!(expand(Some("{{tenant}}"), "/s/*", b"/s/tenants").is_err());
}

#[test]
fn odd_names_become_safe_keys() {
    for (path, stem) in [
        (&b"/s/a b'\"{{x}}.db"[..], "a b'\"{{x}}"),
        (b"/s/a\nb.db", "a%0Ab"),
        (b"/s/\xff.db", "%FF"),
        (b"/s/100%.db", "100%25"),
        (b"/s/.db", ".db"),
        (b"/s/.ultrasimple", ""),
    ] {
        match expand(None, "/s/*", path) {
            Ok(found) => assert_eq!(found, stem),
            Err(error) => assert!(stem.is_empty(), "{error}"),
        }
    }
    let long = format!("/s/{}.db", "x".repeat(1_020));
    let error = expand(None, "/s/*", long.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("at most 1024"), "{error}");
}

#[test]
fn bad_templates_are_refused_by_name() {
    for bad in ["", "/a", "a/", "a//b", "..", "{{", "{{}}", "{{a b}}", "a}}", "a/{{x/y}}", "a\n"] {
        let error = PathTemplate::parse(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?}")), "{error}");
    }
}

proptest! {
    /// Two files of one directory share a key only if they differ by nothing but `.db`.
    #[test]
    fn keys_are_as_different_as_names(
        a in proptest::collection::vec(any::<u8>(), 1..8),
        b in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let path = |name: &[u8]| [b"/s/", name].concat();
        let odd = |n: &[u8]| n.contains(&b'/') || n == b"." || n == b"..";
        prop_assume!(!odd(&a) && !odd(&b));
        if let (Ok(x), Ok(y)) = (expand(None, "/s/*", &path(&a)), expand(None, "/s/*", &path(&b))) {
            prop_assert_eq!(x == y, without_db(&a) == without_db(&b));
        }
    }
}
