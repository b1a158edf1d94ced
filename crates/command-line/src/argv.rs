//! One dash or two: brings a command line into the form that clap reads.
//!
//! Pure, and driven by what it is told of the flags, so that it fits any command. `-bucket x`,
//! `-bucket=x` and `--bucket x` all become `--bucket=x`; short flags (`-o`) stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Command;

/// The flags of a program: the long ones, each with whether it takes a value, and the short ones.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    long: BTreeMap<String, bool>,
    short: BTreeSet<char>,
}

impl Flags {
    /// The flags of `command` and of everything below it.
    pub fn of(command: &Command) -> Self {
        let mut flags = Self::default();
        flags.gather(command);
        flags.short.extend(['h', 'V']);
        for name in ["help", "version"] {
            flags.long.insert(name.to_owned(), false);
        }
        flags
    }

    fn gather(&mut self, command: &Command) {
        for argument in command.get_arguments() {
            self.short.extend(argument.get_short());
            if let Some(long) = argument.get_long() {
                let takes_value =
                    argument.get_action().takes_values() && !argument.is_require_equals_set();
                self.long.insert(long.to_owned(), takes_value);
            }
        }
        command.get_subcommands().for_each(|below| self.gather(below));
    }

    /// Whether a word looks like a long flag with one dash, although there is none of this name: clap
    /// would take it for several short ones, and complain about the first.
    fn is_mistake(&self, word: &OsStr) -> bool {
        let mut letters = word.to_str().into_iter().flat_map(str::chars);
        letters.next() == Some('-')
            && letters.next().is_some_and(|c| c.is_alphabetic() && !self.short.contains(&c))
            && letters.next().is_some()
    }

    /// Whether a word that stands where a value should be is a flag: then the value is missing.
    fn is_flag(&self, word: &OsStr) -> bool {
        let short = |word: &str| {
            let mut letters = word.strip_prefix('-').into_iter().flat_map(str::chars);
            let is_known = letters.next().is_some_and(|letter| self.short.contains(&letter));
            is_known && letters.next().is_none()
        };
        self.read(word).is_some() || word.to_str().is_some_and(short)
    }

    /// Name and `=value` of a word that is one of these flags, and whether it takes a value.
    fn read<'w>(&self, word: &'w OsStr) -> Option<(&'w [u8], bool)> {
        let bytes = word.as_bytes();
        let flag = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
        let name = flag.split(|&byte| byte == b'=').next()?;
        let takes_value = self.long.get(std::str::from_utf8(name).ok()?)?;
        Some((flag, *takes_value))
    }
}

/// The words after the program's name, with two dashes and `=` wherever a known long flag stands. A value
/// may begin with a dash, unless it is itself one of the flags: then the value is missing.
pub fn normalised(words: impl IntoIterator<Item = OsString>, flags: &Flags) -> Vec<OsString> {
    let mut normal = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            normal.push(word);
            normal.extend(words);
            break;
        }
        let Some((flag, takes_value)) = flags.read(&word) else {
            let mut shown = OsString::from(if flags.is_mistake(&word) { "-" } else { "" });
            shown.push(word);
            normal.push(shown);
            continue;
        };
        let mut long = OsString::from("--");
        long.push(OsStr::from_bytes(flag));
        if takes_value
            && !flag.contains(&b'=')
            && let Some(value) = words.next_if(|next| !flags.is_flag(next))
        {
            long.push("=");
            long.push(value);
        }
        normal.push(long);
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    #[test]
    fn one_dash_or_two() {
        let below = Command::new("restore").arg(Arg::new("o").short('o').long("output"));
        let command = Command::new("x")
            .arg(Arg::new("bucket").long("bucket"))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue))
            .arg(Arg::new("once").long("once").num_args(0..=1).require_equals(true))
            .subcommand(below);
        let flags = Flags::of(&command);
        for (given, expected) in [
            ("-bucket b restore", "--bucket=b restore"),
            ("--bucket b", "--bucket=b"),
            ("-bucket=b -json", "--bucket=b --json"),
            ("-bucket -b", "--bucket=-b"),
            ("-bucket -json", "--bucket --json"),
            ("-bucket -h", "--bucket -h"),
            ("restore -o f -output g", "restore -o f --output=g"),
            ("-unknown x -of", "--unknown x -of"),
            ("-once x", "--once x"),
            ("-once=false x", "--once=false x"),
            ("-- -bucket b", "-- -bucket b"),
            ("-help", "--help"),
            ("restore -", "restore -"),
        ] {
            let words = given.split(' ').map(OsString::from);
            let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(normalised(words, &flags), expected, "{given}");
        }
    }
}
