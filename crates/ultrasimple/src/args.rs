//! The command line: from words to [`RawSettings`], and the help.
//!
//! The flags are built from core's table of settings. Every flag takes one dash or two, and its value
//! after a space or a `=`; a value may begin with a dash (`-interval -5s` is refused for what it says,
//! not for how it looks).

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};
use ultrasimple_command_line::argv::{Flags, normalised};
use ultrasimple_command_line::daemon;
use ultrasimple_core::config::{Origin, Problem, RawSettings, Setting};

use crate::help;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// To run with these settings.
    Run(RawSettings),
    /// To print this and exit with 0.
    Print(String),
}

/// Reads the command line; the first word is the program's name.
///
/// # Errors
/// With a text for people when a flag is unknown, has no value, or is there twice.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_else(|| "ultrasimple".into());
    let command = command();
    let normal = normalised(words, &Flags::of(&command));
    match command.try_get_matches_from([program].into_iter().chain(normal)) {
        Ok(matches) => Ok(Request::Run(settings(&matches))),
        Err(error) if !error.use_stderr() => Ok(Request::Print(error.render().to_string())),
        Err(error) => Err(explain(&error)),
    }
}

fn command() -> Command {
    daemon::command().override_help(help::text())
}

fn settings(matches: &ArgMatches) -> RawSettings {
    let mut raw = RawSettings::default();
    for &setting in Setting::ALL {
        let Some(values) = matches.get_many::<OsString>(setting.name()) else {
            continue;
        };
        let words = values.map(|value| value.to_str().map(str::to_owned)).collect();
        match words {
            Some(words) => raw.set(setting, Origin::Flag, words),
            None => raw.problem(Problem::value(setting, &Origin::Flag, "…", "it is not UTF-8")),
        }
    }
    raw
}

/// clap's message, and what it cannot know: that shells expand patterns without quotes.
fn explain(error: &clap::Error) -> String {
    let mut text = error.render().to_string().replace("For more information, try '--help'.\n", "");
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && !word.starts_with('-')
    {
        text = format!(
            "{}\n\n  tip: every value needs its flag before it; a pattern must be in quotes, or the \
             shell expands it\n",
            text.trim_end()
        );
    }
    text = text.trim_start_matches("error: ").trim_end().to_owned();
    format!("{text}\n\nFor more information, try 'ultrasimple -help'.")
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
