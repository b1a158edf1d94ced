//! From flags, variables and the file to the store. The settings are the daemon's: core's table says
//! what they are called and checks them, so that one file and one environment serve both programs.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Command};
use ultrasimple_command_line::layers;
use ultrasimple_core::config::{
    Context, Group, Origin, Problem, Problems, RawSettings, Secret, Setting, Settings,
    StoreSettings,
};
use ultrasimple_store::{Location, S3Options, Store};

/// The settings that say where the backups are. The rest of the file concerns the daemon.
const SETTINGS: [Setting; 6] = [
    Setting::Bucket,
    Setting::EndpointUrl,
    Setting::Region,
    Setting::AccessKey,
    Setting::SecretKey,
    Setting::Config,
];

/// The settings of one command: what the daemon does by itself, this tool must do by the same rules.
const OF_COMMANDS: [(&str, &[Setting]); 1] = [("prune", &[Setting::RetentionDays, Setting::Keep])];

/// Adds the flags that are settings: to every command where the backups are, to some what else they go by.
pub(crate) fn with_settings(command: Command) -> Command {
    let command = command.args(SETTINGS.into_iter().map(|setting| argument(setting).global(true)));
    OF_COMMANDS.into_iter().fold(command, |command, (name, settings)| {
        let arguments = settings.iter().map(|&setting| argument(setting));
        command.mut_subcommand(name, |command| command.args(arguments))
    })
}

fn argument(setting: Setting) -> Arg {
    let help = match setting {
        Setting::Bucket => {
            "Where the backups are: NAME, s3://NAME/prefix or file:///directory".to_owned()
        }
        Setting::Config => "The daemon's TOML file, or one like it".to_owned(),
        setting => setting.help().to_owned(),
    };
    let heading = match setting.group() {
        Group::Keep => Group::Keep.heading(),
        _ => "Where the backups are",
    };
    let default = setting.default_word().map(|word| format!(" [default: {word}]"));
    let variable = format!("{} [env: {}]", default.unwrap_or_default(), setting.variable());
    Arg::new(setting.name())
        .long(setting.name())
        .value_name(setting.value_name())
        .value_parser(OsStringValueParser::new())
        .help(help + &variable)
        .help_heading(heading)
}

/// The checked settings.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn settings(
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Problems> {
    let raw = layers::gather(flags(matches), variables);
    Settings::check(&raw, &context())
}

fn flags(matches: &ArgMatches) -> RawSettings {
    let mut raw = RawSettings::default();
    let (name, below) = matches.subcommand().unzip();
    let of_command = OF_COMMANDS.into_iter().filter(|(command, _)| Some(*command) == name);
    let of_command = of_command.flat_map(|(_, settings)| settings).copied();
    for (setting, matches) in SETTINGS
        .into_iter()
        .map(|setting| (setting, Some(matches)))
        .chain(of_command.map(|setting| (setting, below)))
    {
        let value = matches.and_then(|matches| matches.get_one::<OsString>(setting.name()));
        let Some(value) = value else { continue };
        match value.to_str() {
            Some(word) => raw.set(setting, Origin::Flag, vec![word.to_owned()]),
            None => {
                raw.problem(Problem::value(setting, &Origin::Flag, "…", "it is not UTF-8"));
            }
        }
    }
    raw
}

/// The checks also cover what only the daemon needs. That part must not depend on this host: a restore
/// may happen anywhere.
fn context() -> Context {
    Context {
        current_directory: "/".into(),
        temp_directory: "/tmp".into(),
        user: 0,
        host_name: "operator".to_owned(),
        read_bucket: layers::read_bucket,
    }
}

/// Opens the store, to read from it; nothing is created there.
///
/// # Errors
/// When it cannot be reached, with the bucket's name.
pub(crate) async fn open(
    settings: &StoreSettings,
    connections: usize,
) -> anyhow::Result<Arc<dyn Store>> {
    let bucket = settings.bucket.as_ref();
    let bucket = bucket.ok_or_else(|| anyhow!("-bucket is missing: say where the backups are"))?;
    let failed = || format!("cannot use -bucket {}", bucket.text);
    let location: Location = bucket.text.parse().with_context(failed)?;
    let key = |secret: &Secret| secret.expose().to_owned();
    let credentials = settings.credentials.as_ref();
    let options = S3Options {
        region: settings.region.clone(),
        endpoint_url: settings.endpoint_url.clone(),
        access_key: credentials.map(|pair| key(&pair.access_key)),
        secret_key: credentials.map(|pair| key(&pair.secret_key)),
        idle_connections: connections,
        ..S3Options::default()
    };
    ultrasimple_store::open(&location, options, false).await.with_context(failed)
}
