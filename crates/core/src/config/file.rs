//! The configuration file: a flat TOML table whose keys are the settings' names.

use toml::de::{DeTable, DeValue};

use super::problem::nearest;
use super::raw::hint;
use super::{Origin, Problem, RawSettings, Setting};

/// What TOML has for one setting, and how it is written.
type Words = Result<Vec<String>, &'static str>;

impl RawSettings {
    /// Reads the text of the configuration file at `path`.
    pub fn from_file(path: &str, text: &str) -> Self {
        let mut raw = Self::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let why = error.message();
            raw.problem(Problem::other(format!("{path}, line {line}: this is not TOML: {why}")));
        }
        if !errors.is_empty() {
            // What a broken file says of the other settings is a guess.
            return raw;
        }
        for (key, value) in table.get_ref() {
            let origin = Origin::File(path.to_owned(), line_of(text, key.span().start));
            raw.key(key.get_ref(), value.get_ref(), origin);
        }
        raw
    }

    fn key(&mut self, key: &str, value: &DeValue<'_>, origin: Origin) {
        let Origin::File(path, line) = &origin else {
            return;
        };
        let setting = match Setting::named(key) {
            Some(Setting::Config) => {
                let text = format!("{path}, line {line}: config: a file cannot name another file");
                return self.problem(Problem::other(text));
            }
            Some(setting) => setting,
            None => {
                let known = Setting::ALL.iter().filter(|&&s| s != Setting::Config);
                let hint = hint(nearest(key, known.map(|setting| setting.name())));
                let text = format!("{path}, line {line}: {key:?}: there is no such setting{hint}");
                return self.problem(Problem::other(text));
            }
        };
        match words(setting, value) {
            Ok(words) => self.set(setting, origin, words),
            Err(why) => {
                let text = format!("{path}, line {line}: {}: {why}", setting.name());
                self.problem(Problem::other(text));
            }
        }
    }
}

fn words(setting: Setting, value: &DeValue<'_>) -> Words {
    match value {
        DeValue::Array(array) if setting.is_repeatable() => array
            .iter()
            .map(|element| element.get_ref().as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or("it must be an array of strings"),
        DeValue::Array(_) => Err("it takes one value, not an array"),
        _ if setting.is_switch() && !value.is_bool() => Err("it must be true or false"),
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Boolean(flag) => Ok(vec![flag.to_string()]),
        DeValue::Integer(number) if number.radix() == 10 => Ok(vec![number.as_str().to_owned()]),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(vec![number.to_string()]),
            Err(_) => Err("this number is too great"),
        },
        DeValue::Float(number) => Ok(vec![number.as_str().to_owned()]),
        DeValue::Datetime(_) => Err("a date does not fit here"),
        DeValue::Table(_) => Err("it takes one value, not a table"),
    }
}

/// The line (from 1) at which the byte `offset` of `text` is.
fn line_of(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|&(at, _)| at < offset).filter(|&(_, c)| c == '\n').count() + 1
}
