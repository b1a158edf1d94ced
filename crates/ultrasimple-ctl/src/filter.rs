//! What `--match` and `databases GLOB` take: which databases are meant.

use glob::{MatchOptions, Pattern};
use ultrasimple_core::{KeyStem, SourcePath};

/// Nothing is special: `*` matches slashes and leading dots too.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// A glob over source paths and key stems: the whole of one or of the other must match.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Pattern);

impl Filter {
    /// Reads a glob.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match Pattern::new(text) {
            Ok(_) if text.is_empty() => Err("it is empty: \"*\" matches all".to_owned()),
            Ok(pattern) => Ok(Self(pattern)),
            Err(error) => Err(format!("{text:?} is not a glob: {}", error.msg)),
        }
    }

    /// What every key of a matching database begins with, when only stems can match.
    pub(crate) fn key_prefix(&self) -> &str {
        if self.may_match_paths() { "" } else { self.literal() }
    }

    /// Whether the stem matches.
    pub(crate) fn matches_stem(&self, stem: &KeyStem) -> bool {
        self.0.matches_with(stem.as_str(), OPTIONS)
    }

    /// Whether the database of this stem and path is meant.
    pub(crate) fn matches(&self, stem: &KeyStem, path: &SourcePath) -> bool {
        self.matches_stem(stem) || self.matches_path(path)
    }

    /// Whether it can match any source path at all: they begin with a slash. Where it cannot, no footer
    /// needs to be read to know.
    pub(crate) fn may_match_paths(&self) -> bool {
        let literal = self.literal();
        literal.is_empty() || literal.starts_with('/')
    }

    /// Whether the path matches, in the form in which paths are shown.
    pub(crate) fn matches_path(&self, path: &SourcePath) -> bool {
        self.0.matches_with(&path.to_string(), OPTIONS)
    }

    fn literal(&self) -> &str {
        let text = self.0.as_str();
        text.find(['*', '?', '[']).and_then(|end| text.get(..end)).unwrap_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_and_paths() {
        let stem = KeyStem::try_from("acme/users/main/t1/t1".to_owned()).unwrap();
        let path = SourcePath::from_bytes(b"/data/acme/tenants/t1.db");
        for (glob, on_stem, on_path, prefix) in [
            ("*", true, true, ""),
            ("*t1*", true, true, ""),
            ("acme/*", true, false, "acme/"),
            ("acme/*/t2", false, false, "acme/"),
            ("/data/*", false, true, ""),
            ("*/tenants/t?.db", false, true, ""),
            ("[ab]cme/*", true, false, ""),
            ("acme", false, false, "acme"),
        ] {
            let filter = Filter::parse(glob).unwrap();
            assert_eq!(filter.matches_stem(&stem), on_stem, "{glob}");
            assert_eq!(filter.matches_path(&path), on_path, "{glob}");
            assert_eq!(filter.key_prefix(), prefix, "{glob}");
            assert!(filter.may_match_paths() || !on_path);
        }
        assert!(Filter::parse("").unwrap_err().contains("empty"));
        assert!(Filter::parse("a[").unwrap_err().contains("not a glob"));
    }
}
