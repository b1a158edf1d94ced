//! Which files are databases: patterns, matched component by component.
//!
//! Components are `*`, `?`, `[…]` as the `glob` crate reads them (a leading dot is nothing special),
//! `**` for any number of directories, and captures: `{{region}}` matches like `*` and remembers what
//! it matched for the key's template. The walk is the scanner's; this module only answers, for a
//! directory reached by the walk, what may be below it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use glob::Pattern as Glob;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is not valid: {reason}")]
pub struct InvalidPattern {
    pattern: String,
    reason: String,
}

/// One absolute path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// Exactly this name.
    Literal(Box<str>),
    /// Any name that the glob matches.
    Glob { whole: Glob, segments: Vec<Segment> },
    /// `**`: any number of directories, none included.
    Recursive,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Glob(Glob),
    Capture(String),
}

impl Pattern {
    /// Reads an absolute pattern.
    ///
    /// # Errors
    /// When it is relative, has an empty, `.` or `..` component, ends in `**`, or does not parse.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let refuse = |reason: &str| InvalidPattern { pattern: text.into(), reason: reason.into() };
        let relative = text.strip_prefix('/').ok_or_else(|| refuse("it must begin with '/'"))?;
        let components = relative
            .split('/')
            .map(|component| match component {
                "" => Err("it has an empty component ('//' or a trailing '/')".to_owned()),
                "." | ".." => Err("it has a component '.' or '..'".to_owned()),
                "**" => Ok(Component::Recursive),
                _ => Component::parse(component),
            })
            .collect::<Result<Vec<_>, String>>()
            .map_err(|reason| refuse(&reason))?;
        if components.last() == Some(&Component::Recursive) {
            return Err(refuse("it ends with '**'; say which files, as in '**/*.db'"));
        }
        Ok(Self { text: text.to_owned(), components })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory up to which the pattern has no wildcard, without a trailing slash (`""` for the
    /// root). For a pattern without wildcards: the file's directory.
    pub fn literal_prefix(&self) -> String {
        let directories = self.components.split_last().map_or(&[][..], |(_, rest)| rest);
        directories
            .iter()
            .map_while(|component| match component {
                Component::Literal(name) => Some(format!("/{name}")),
                _ => None,
            })
            .collect()
    }

    /// Whether the pattern matches the whole path, and what its captures are then.
    pub fn captures(&self, path: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
        let names: Vec<&[u8]> = path.strip_prefix(b"/")?.split(|&b| b == b'/').collect();
        let mut captures = BTreeMap::new();
        match_components(&self.components, &names, &mut captures).then_some(captures)
    }

    /// Whether the pattern matches the path or a directory above it: how excludes are meant.
    pub fn covers(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().skip(1).filter(|&(_, &b)| b == b'/').map(|(i, _)| i);
        ends.chain([path.len()])
            .any(|end| path.get(..end).is_some_and(|ancestor| self.captures(ancestor).is_some()))
    }
}

impl Component {
    fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) =
                after.split_once("}}").ok_or("a '{{' has no '}}' in the same component")?;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("'{{{{{name}}}}}' is not a name of letters, digits and '_'"));
            }
            push_glob(&mut segments, before)?;
            if segments.last().is_some_and(|last| matches!(last, Segment::Capture(_))) {
                return Err("two captures stand side by side, with nothing between".into());
            }
            segments.push(Segment::Capture(name.to_owned()));
            whole.push_str(before);
            whole.push('*');
            rest = after;
        }
        whole.push_str(rest);
        if segments.is_empty() && !text.contains(['*', '?', '[']) {
            return Ok(Self::Literal(text.into()));
        }
        push_glob(&mut segments, rest)?;
        Ok(Self::Glob { whole: Glob::new(&whole).map_err(|e| e.msg.to_owned())?, segments })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *name,
            Self::Glob { whole, .. } => whole.matches(name),
            Self::Recursive => false,
        }
    }
}

fn push_glob(segments: &mut Vec<Segment>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        segments.push(Segment::Glob(Glob::new(text).map_err(|e| e.msg.to_owned())?));
    }
    Ok(())
}

/// Names that are not UTF-8 are matched with U+FFFD in place of what is invalid: `*` takes them.
fn lossy(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}

fn match_components(
    components: &[Component],
    names: &[&[u8]],
    captures: &mut BTreeMap<String, Vec<u8>>,
) -> bool {
    let Some((component, later)) = components.split_first() else { return names.is_empty() };
    if *component == Component::Recursive {
        return (0..names.len()).any(|skip| {
            names.get(skip..).is_some_and(|rest| match_components(later, rest, captures))
        });
    }
    let Some((name, rest)) = names.split_first() else { return false };
    if !component.matches(&lossy(name)) || !match_components(later, rest, captures) {
        return false;
    }
    // To try which text each part stands for is worth it only where somebody asks.
    if let Component::Glob { segments, .. } = component
        && segments.iter().any(|segment| matches!(segment, Segment::Capture(_)))
    {
        capture_segments(segments, name, captures);
    }
    true
}

/// Finds what each capture of a component stands for: the shortest text, from the left, with which the
/// rest still matches.
fn capture_segments(
    segments: &[Segment],
    name: &[u8],
    captures: &mut BTreeMap<String, Vec<u8>>,
) -> bool {
    let Some((segment, later)) = segments.split_first() else { return name.is_empty() };
    let shortest = usize::from(matches!(segment, Segment::Capture(_)));
    (shortest..=name.len()).any(|length| {
        let Some((head, tail)) = name.split_at_checked(length) else { return false };
        let fits = match segment {
            Segment::Glob(glob) => glob.matches(&lossy(head)),
            Segment::Capture(_) => true,
        };
        if !fits || !capture_segments(later, tail, captures) {
            return false;
        }
        if let Segment::Capture(capture) = segment {
            captures.insert(capture.clone(), head.to_vec());
        }
        true
    })
}

/// The patterns of a volume: what is in and what is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternSet {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

/// What may still match below a directory: for each pattern, the components that are next. Opaque;
/// two directories with equal `Reach` are treated alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Reach(Box<[State]>);

/// Whether it includes, which pattern, and which of its components is next.
type State = (bool, u16, u16);

impl Reach {
    /// Whether nothing below can match.
    pub fn is_empty(&self) -> bool {
        !self.0.iter().any(|&(include, ..)| include)
    }

    /// Whether all that may match below a directory with this reach may match below one with `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        let includes = |state: &&State| state.0;
        self.0.iter().filter(includes).all(|state| other.0.contains(state))
            && other.0.iter().filter(|state| !includes(state)).all(|state| self.0.contains(state))
    }
}

/// How to look into a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<'a> {
    /// List it: any name may match.
    List,
    /// Only these sub-directories matter; no listing is needed.
    Named(Vec<&'a str>),
}

impl PatternSet {
    /// Patterns that include, and patterns that exclude (a file, or a directory with all below it).
    pub fn new(includes: Vec<Pattern>, excludes: Vec<Pattern>) -> Self {
        Self { includes, excludes }
    }

    /// The patterns that include.
    pub fn includes(&self) -> &[Pattern] {
        &self.includes
    }

    /// The patterns that exclude.
    pub fn excludes(&self) -> &[Pattern] {
        &self.excludes
    }

    /// What may match below `/`.
    pub fn root(&self) -> Reach {
        let patterns = |include: bool, count: usize| {
            (0..count).filter_map(move |i| Some((include, u16::try_from(i).ok()?, 0)))
        };
        let all = patterns(true, self.includes.len()).chain(patterns(false, self.excludes.len()));
        Reach(all.collect())
    }

    fn component(&self, (include, pattern, position): State) -> Option<&Component> {
        let patterns = if include { &self.includes } else { &self.excludes };
        patterns.get(usize::from(pattern))?.components.get(usize::from(position))
    }

    fn is_last(&self, (include, pattern, position): State) -> bool {
        let patterns = if include { &self.includes } else { &self.excludes };
        patterns
            .get(usize::from(pattern))
            .is_some_and(|p| usize::from(position) + 1 == p.components.len())
    }

    /// The states of `reach`, with those behind a `**` (which may stand for nothing) added.
    fn expanded<'a>(&'a self, reach: &'a Reach) -> impl Iterator<Item = State> + 'a {
        reach.0.iter().flat_map(|&(include, pattern, first)| {
            let mut position = first;
            while self.component((include, pattern, position)) == Some(&Component::Recursive) {
                position += 1;
            }
            (first..=position).map(move |position| (include, pattern, position))
        })
    }

    /// What may match below the directory called `name` in a directory with `reach`. `through_link`:
    /// the name is a symbolic link, which `**` does not follow.
    pub fn descend(&self, reach: &Reach, name: &[u8], through_link: bool) -> Reach {
        let name = lossy(name);
        let mut next = Vec::new();
        for state in self.expanded(reach) {
            let (include, pattern, position) = state;
            match self.component(state) {
                Some(Component::Recursive) if !through_link || !include => next.push(state),
                Some(component) if component.matches(&name) => {
                    if !self.is_last(state) {
                        next.push((include, pattern, position + 1));
                    } else if !include {
                        return Reach::default();
                    }
                }
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        Reach(next.into())
    }

    /// Whether a file called `name` in a directory with `reach` is a database.
    pub fn matches_file(&self, reach: &Reach, name: &[u8]) -> bool {
        let name = lossy(name);
        let mut included = false;
        for state in self.expanded(reach) {
            let hit = self.is_last(state)
                && self.component(state).is_some_and(|component| component.matches(&name));
            if hit && !state.0 {
                return false;
            }
            included |= hit;
        }
        included
    }

    /// How to look into a directory with `reach`.
    pub fn look<'a>(&'a self, reach: &'a Reach) -> Look<'a> {
        let mut names = Vec::new();
        for state in self.expanded(reach).filter(|state| state.0) {
            match self.component(state) {
                Some(Component::Literal(name)) if !self.is_last(state) => names.push(&**name),
                _ => return Look::List,
            }
        }
        names.sort_unstable();
        names.dedup();
        Look::Named(names)
    }

    /// The first pattern that matches `path`, with its captures.
    pub fn find(&self, path: &[u8]) -> Option<(&Pattern, BTreeMap<String, Vec<u8>>)> {
        if self.excludes.iter().any(|exclude| exclude.covers(path)) {
            return None;
        }
        self.includes.iter().find_map(|pattern| Some((pattern, pattern.captures(path)?)))
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
