//! Where in the bucket a database's backups go: the path template.

use std::collections::BTreeMap;
use std::fmt;

use crate::key::{InvalidKey, KeyStem};
use crate::path::encode;
use crate::pattern::PatternSet;
use crate::{NodeName, SourcePath, VolumeName};

/// The form tried first when no template is given; where it does not resolve, `{{path}}` is used.
pub const DEFAULT_TEMPLATE: &str = "{{project}}/{{database}}/{{branch}}/{{tenant}}";

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path template {template:?} is not valid: {reason}")]
pub struct InvalidTemplate {
    template: String,
    reason: &'static str,
}

/// Why a database has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A variable has no value for this path.
    #[error(
        "the path template's {{{{{variable}}}}} has no value here: no directory '{variable}' or \
         '{plural}' is in the path and no pattern captures it; change -path or -pattern"
    )]
    Unresolved {
        /// The variable.
        variable: String,
        /// Its plural, as a directory would be called.
        plural: String,
    },
    /// The path matches none of the patterns.
    #[error("the path matches none of the patterns")]
    NoPattern,
    /// The key is not one that a store takes.
    #[error("{0}; change -path to make a shorter or simpler key")]
    Key(#[from] InvalidKey),
}

/// A parsed path template, or the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: Option<String>,
    components: Vec<Vec<Part>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// What a template is expanded for, besides the path.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The patterns, whose captures are variables.
    pub patterns: &'a PatternSet,
    /// `{{volume}}`
    pub volume: &'a VolumeName,
    /// `{{node}}`
    pub node: &'a NodeName,
    /// The longest key the store takes.
    pub max_key_bytes: usize,
}

impl PathTemplate {
    /// What is used when no template is given: [`DEFAULT_TEMPLATE`] where it resolves, `{{path}}`
    /// elsewhere.
    pub fn standard() -> Self {
        let template = Self::read(DEFAULT_TEMPLATE).unwrap_or_else(|_| Self::path());
        Self { text: None, ..template }
    }

    /// Reads a template such as `{{tenant}}/{{database}}`.
    ///
    /// # Errors
    /// When it is empty, begins or ends with `/`, has an empty component or a broken variable.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        Self::read(text).map_err(|reason| InvalidTemplate { template: text.to_owned(), reason })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let components = text.split('/').map(read_component).collect::<Result<_, _>>()?;
        Ok(Self { text: Some(text.to_owned()), components })
    }

    /// Whether `{{variable}}` stands in it.
    pub fn names(&self, variable: &str) -> bool {
        let is_it = |part: &Part| matches!(part, Part::Variable(name) if name == variable);
        self.components.iter().flatten().any(is_it)
    }

    fn path() -> Self {
        let components = vec![vec![Part::Variable("path".to_owned())]];
        Self { text: None, components }
    }

    /// The key stem of the database at `path`: the expanded template and the database's name.
    ///
    /// # Errors
    /// When a variable has no value for this path, or the key would not be a safe one.
    pub fn expand(
        &self,
        path: &SourcePath,
        setting: Setting<'_>,
    ) -> Result<KeyStem, TemplateError> {
        let (pattern, captures) =
            setting.patterns.find(path.as_bytes()).ok_or(TemplateError::NoPattern)?;
        let bytes = path.as_bytes();
        let prefix = pattern.literal_prefix();
        let scope = Scope { bytes, captures, prefix: &prefix, setting };
        let mut stem = match self.expand_directory(&scope) {
            Err(TemplateError::Unresolved { .. }) if self.text.is_none() => {
                Self::path().expand_directory(&scope)?
            }
            expanded => expanded?,
        };
        stem.push_str(&path.key_name());
        Ok(KeyStem::new(stem, setting.max_key_bytes)?)
    }

    /// The expanded template, with a trailing slash where it is not empty.
    fn expand_directory(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        let mut directory = String::new();
        for component in &self.components {
            let start = directory.len();
            for part in component {
                match part {
                    Part::Text(text) => directory.push_str(text),
                    Part::Variable(name) => directory.push_str(&encode(scope.value(name)?)),
                }
            }
            // `{{path}}` is nothing for a database right below the pattern's literal prefix.
            if directory.len() > start {
                directory.push('/');
            }
        }
        Ok(directory)
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => write!(f, "{DEFAULT_TEMPLATE}, else {{{{path}}}}"),
        }
    }
}

fn read_component(text: &str) -> Result<Vec<Part>, &'static str> {
    if matches!(text, "" | "." | "..") {
        return Err("it has an empty, '.' or '..' component, or begins or ends with '/'");
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("a '{{' has no '}}'")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("a variable's name has other characters than letters, digits and '_'");
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Variable(name.to_owned()));
        rest = after;
    }
    if rest.contains("}}") {
        return Err("a '}}' has no '{{'");
    }
    if rest.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

struct Scope<'a> {
    bytes: &'a [u8],
    captures: BTreeMap<String, Vec<u8>>,
    prefix: &'a str,
    setting: Setting<'a>,
}

impl Scope<'_> {
    fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&b| b == b'/').filter(|component| !component.is_empty())
    }

    fn name(&self) -> &[u8] {
        crate::path::name(self.bytes)
    }

    fn value(&self, variable: &str) -> Result<&[u8], TemplateError> {
        if let Some(value) = self.captures.get(variable) {
            return Ok(value);
        }
        match variable {
            "volume" => return Ok(self.setting.volume.as_str().as_bytes()),
            "node" => return Ok(self.setting.node.as_str().as_bytes()),
            "name" => return Ok(self.name()),
            "path" => return Ok(self.relative_directory()),
            _ => {}
        }
        let plural = plural(variable);
        let named = self.following(|c| c == variable.as_bytes() || c == plural.as_bytes());
        let value = match variable {
            "project" => named.or_else(|| self.following(|component| component == b"data")),
            _ => named,
        };
        value.ok_or(TemplateError::Unresolved { variable: variable.to_owned(), plural })
    }

    /// The component that follows the first one that `is` the directory looked for.
    fn following(&self, is: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        let mut components = self.components();
        components.find(|component| is(component))?;
        components.next().map(crate::path::without_db).filter(|value| !value.is_empty())
    }

    /// The directory of the database relative to the pattern's literal prefix.
    fn relative_directory(&self) -> &[u8] {
        let end = self.bytes.iter().rposition(|&b| b == b'/').unwrap_or(0);
        let directory = self.bytes.get(..end).unwrap_or_default();
        let relative = directory.strip_prefix(self.prefix.as_bytes()).unwrap_or(directory);
        relative.strip_prefix(b"/").unwrap_or(relative)
    }
}

/// `tenant` → `tenants`, `branch` → `branches`, `city` → `cities`.
fn plural(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if word.ends_with(['s', 'x', 'z']) || word.ends_with("ch") || word.ends_with("sh") => {
            format!("{word}es")
        }
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
