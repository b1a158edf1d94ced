//! Stage one: the words as they were given, and where.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::problem::nearest;
use super::{Problem, Problems, Setting, VARIABLE_PREFIX};

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// By a variable.
    Variable,
    /// In the file at this path, at this line (from 1).
    File(String, usize),
    /// Nowhere: the table's default.
    Default,
}

impl Origin {
    /// The setting and its value as they were written there.
    pub fn describe(&self, setting: Setting, word: &str) -> String {
        match self {
            Self::Flag if setting.is_switch() => format!("{}={word}", setting.flag()),
            Self::Flag => format!("{} {word:?}", setting.flag()),
            Self::Variable => format!("{}={word:?}", setting.variable()),
            Self::File(path, line) => format!("{path}, line {line}: {} = {word:?}", setting.name()),
            Self::Default => format!("{} (default {word:?})", setting.flag()),
        }
    }

    /// The setting as it is called there.
    pub fn name(&self, setting: Setting) -> String {
        match self {
            Self::Flag | Self::Default => setting.flag(),
            Self::Variable => setting.variable(),
            Self::File(path, line) => format!("{} ({path}, line {line})", setting.name()),
        }
    }
}

/// The words of one setting.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) origin: Origin,
    pub(super) words: Vec<String>,
}

/// What was given, before any of it is checked. What could not even be read (an unknown key, a file that
/// is not TOML) is kept as a problem and reported by [`super::Settings::check`] with all the rest.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RawSettings {
    given: BTreeMap<Setting, Given>,
    problems: Vec<Problem>,
}

/// Names only: a value may be a secret.
impl std::fmt::Debug for RawSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.given.keys().map(|setting| setting.name())).finish()
    }
}

impl RawSettings {
    /// Notes the words of a setting. A switch has the word `true` or `false`; only repeatable settings
    /// have more than one word.
    pub fn set(&mut self, setting: Setting, origin: Origin, words: Vec<String>) {
        self.given.insert(setting, Given { origin, words });
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What is said here, and what `lower` says about the rest. A repeatable setting is replaced whole.
    #[must_use]
    pub fn over(mut self, lower: Self) -> Self {
        for (setting, given) in lower.given {
            self.given.entry(setting).or_insert(given);
        }
        self.problems.extend(lower.problems);
        self
    }

    /// The file with more settings, and where it was named.
    pub fn config_file(&self) -> Option<(&Origin, &str)> {
        let given = self.given.get(&Setting::Config)?;
        Some((&given.origin, given.words.first()?))
    }

    /// Reads the variables that begin with [`VARIABLE_PREFIX`]. An empty one counts as not there. Several
    /// patterns stand one to a line. A variable that no setting has is refused, since what it asks for
    /// cannot be honoured; but not those that Kubernetes makes for a service called `ultrasimple`.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut raw = Self::default();
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter(|(name, value)| {
                name.to_string_lossy().starts_with(VARIABLE_PREFIX) && !value.is_empty()
            })
            .collect();
        ours.sort();
        for (name, value) in ours {
            raw.variable(&name.to_string_lossy(), &value);
        }
        raw
    }

    fn variable(&mut self, name: &str, value: &OsStr) {
        let Some(setting) = Setting::ALL.iter().copied().find(|s| s.variable() == name) else {
            if !is_service_link(name) {
                let known = Setting::ALL.iter().map(|setting| setting.variable());
                let hint = hint(nearest(name, known));
                let text = format!("{name}: there is no such variable{hint}");
                self.problem(Problem::other(text));
            }
            return;
        };
        let Some(text) = value.to_str() else {
            let why = "it is not UTF-8";
            return self.problem(Problem::value(setting, &Origin::Variable, "…", why));
        };
        let words = if setting.is_repeatable() {
            text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
        } else {
            vec![text.to_owned()]
        };
        self.set(setting, Origin::Variable, words);
    }

    /// Whether it was given at all.
    pub fn is_given(&self, setting: Setting) -> bool {
        self.given.contains_key(&setting)
    }

    pub(super) fn get(&self, setting: Setting) -> Option<&Given> {
        self.given.get(&setting)
    }

    pub(super) fn problems(&self) -> Problems {
        let mut problems = Problems::default();
        problems.extend(self.problems.iter().cloned());
        problems
    }
}

/// What is said after an unknown name.
pub(super) fn hint(nearest: Option<String>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Whether Kubernetes makes a variable of this name for a service: `X_SERVICE_HOST`, `X_SERVICE_PORT`
/// (`_NAME`), `X_PORT`, `X_PORT_9810_TCP` (`_ADDR`, `_PORT`, `_PROTO`).
fn is_service_link(name: &str) -> bool {
    let numbered = |rest: &str| {
        let mut parts = rest.split('_');
        let port = parts.next().is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
        port && parts.next().is_some_and(|p| matches!(p, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| numbered(rest))
}
