//! All spans there are, and all that they say: what is not here is not told.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions where these know one, and else begin with
//! `ultrasimple.`. Unlike the label of an instrument, an attribute may have any number of values: a database's path is one.

mod attributes;
mod spans;

pub use attributes::*;
pub use spans::*;

/// Something that a span can say.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    /// In OpenTelemetry.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// To which side of a request a span belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To none.
    Internal,
    /// It asks another server for something.
    Client,
}

/// Whose span it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The daemon's.
    Daemon,
    /// `ultrasimple-ctl`'s.
    Tool,
    /// Both programs'.
    Both,
}

/// A kind of spans.
#[derive(Debug, PartialEq, Eq)]
pub struct SpanType {
    /// In OpenTelemetry.
    pub name: &'static str,
    /// What side of a request it is.
    pub kind: Kind,
    /// Whose it is.
    pub by: By,
    /// Within which it is, by their names.
    pub parents: &'static [&'static str],
    /// A trace may begin with it.
    pub is_root: bool,
    /// What it can say.
    pub attributes: &'static [&'static Attribute],
    /// There may be many of it in one parent, of which some are told.
    pub is_one_of_many: bool,
    /// There may be many in it.
    pub is_group: bool,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_catalogue_fits_together() {
        let names: HashSet<_> = SPANS.iter().map(|span| span.name).collect();
        assert_eq!(names.len(), SPANS.len());
        let mut said = HashSet::new();
        for span in SPANS {
            let SpanType { name, parents, is_root, attributes, meaning, .. } = span;
            let SpanType { is_group, is_one_of_many, .. } = span;
            assert!(*is_root || !parents.is_empty(), "{name}");
            assert!(parents.iter().all(|parent| names.contains(parent)), "{name}: {parents:?}");
            assert!(meaning.ends_with('.') && !meaning.contains('\n'), "{name}: {meaning}");
            let unique: HashSet<_> = attributes.iter().map(|attribute| attribute.name).collect();
            assert_eq!(unique.len(), attributes.len(), "{name}");
            assert!(unique.contains("error.type"), "{name}: anything can fail");
            assert_eq!(*is_group, unique.contains(CHILDREN.name), "{name}");
            let is_group =
                |parent: &&str| SPANS.iter().any(|span| span.name == *parent && span.is_group);
            assert!(!is_one_of_many || parents.iter().any(is_group), "{name}");
            said.extend(unique);
        }
        let all: HashSet<_> = ATTRIBUTES.iter().map(|attribute| attribute.name).collect();
        assert_eq!(said, all);
        assert_eq!(all.len(), ATTRIBUTES.len());
        for Attribute { name, meaning } in ATTRIBUTES {
            let known = ["aws.s3.", "error.", "file.", "ultrasimple."];
            assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert!(meaning.ends_with('.') && !meaning.contains('\n'), "{name}: {meaning}");
        }
    }
}
