//! The daemon's flags, made from core's table of settings: what it reads, and what its completions and its
//! manual page are made of.

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, Command};
use ultrasimple_core::config::Setting;

/// The daemon's command line.
pub fn command() -> Command {
    let command = Command::new("ultrasimple")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Backs up every changed SQLite database to S3, hour by hour")
        .override_usage("ultrasimple -bucket BUCKET [-pattern GLOB]… [-FLAG VALUE]…");
    Setting::ALL.iter().fold(command, |command, &setting| command.arg(argument(setting)))
}

fn argument(setting: Setting) -> Arg {
    let default = setting.default_word().map(|word| format!(" [default: {word}]"));
    let arg = Arg::new(setting.name())
        .long(setting.name())
        .value_parser(OsStringValueParser::new())
        .help(format!("{}{}", setting.help(), default.unwrap_or_default()))
        .help_heading(setting.group().heading());
    if setting.is_switch() {
        return arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    let repeat = if setting.is_repeatable() { ArgAction::Append } else { ArgAction::Set };
    arg.action(repeat).value_name(setting.value_name())
}
