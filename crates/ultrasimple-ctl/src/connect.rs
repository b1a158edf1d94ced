//! From flags, variables and the file to the store. The settings are the daemon's: core's table says
//! what they are called and checks them, so that one file and one environment serve both programs.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches};
use ultrasimple_command_line::layers;
use ultrasimple_core::config::{
    Context, Group, Origin, Problem, Problems, RawSettings, Secret, Setting, Settings,
    StoreSettings,
};
use ultrasimple_store::{Location, S3Options, Store};

/// The settings that say where the backups are, and who is asked about the fleet. The rest of the file concerns
/// the daemon.
const SETTINGS: [Setting; 16] = [
    Setting::Bucket,
    Setting::EndpointUrl,
    Setting::Region,
    Setting::AccessKey,
    Setting::SecretKey,
    Setting::Config,
    Setting::Etcd,
    Setting::Cluster,
    Setting::EtcdCa,
    Setting::EtcdCert,
    Setting::EtcdKey,
    Setting::EtcdUser,
    Setting::EtcdPassword,
    Setting::EtcdPasswordFile,
    Setting::Http,
    Setting::HttpTokenFile,
];

/// The flags, for every command.
pub(crate) fn arguments() -> impl Iterator<Item = Arg> {
    SETTINGS.into_iter().map(|setting| {
        let help = match setting {
            Setting::Bucket => "Where the backups are: NAME, s3://NAME/prefix or file:///directory",
            Setting::Config => "The daemon's TOML file, or one like it",
            Setting::Etcd => {
                "The fleet's etcd: http:// or https://, host and port, such as http://10.0.0.1:2379. \
                 May be repeated, for each member"
            }
            Setting::EtcdCert => "A certificate for etcd (PEM), with -etcd-key",
            Setting::Http => "Where the daemon serves HTTP, without -etcd",
            Setting::HttpTokenFile => "A file with the token that the daemons' HTTP asks for",
            setting => setting.help(),
        };
        let is_store = matches!(setting.group(), Group::Store) || setting == Setting::Config;
        let heading = if is_store { "Where the backups are" } else { "The fleet" };
        argument(setting, help, heading).global(true)
    })
}

/// The flag of one of the daemon's settings.
pub(crate) fn argument(setting: Setting, help: &str, heading: &'static str) -> Arg {
    let default = setting.default_word().map(|word| format!(" [default: {word}]"));
    let variable = format!("{} [env: {}]", default.unwrap_or_default(), setting.variable());
    let action = if setting.is_repeatable() { ArgAction::Append } else { ArgAction::Set };
    Arg::new(setting.name())
        .action(action)
        .long(setting.name())
        .value_name(setting.value_name())
        .value_parser(OsStringValueParser::new())
        .help(help.to_owned() + &variable)
        .help_heading(heading)
}

/// The checked settings. `own` are the flags of the command that are settings, `matches` those of all commands.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn settings(
    own: RawSettings,
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Problems> {
    let raw = layers::gather(own.over(flags(matches, &SETTINGS)), variables);
    Settings::check(&asking(raw), &context())
}

/// All settings of the daemon, for a command that reaches no bucket and needs none. `own` are the flags of
/// the command, `matches` those of all commands.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn settings_without_bucket(
    own: RawSettings,
    matches: &ArgMatches,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Problems> {
    let mut raw = layers::gather(own.over(flags(matches, &SETTINGS)), variables);
    // What needs no bucket.
    raw.set(Setting::DryRun, Origin::Flag, vec!["true".to_owned()]);
    Settings::check(&asking(raw), &context())
}

/// Whoever asks a daemon at an address of another host may: whether that takes a token is the daemon's to say.
fn asking(mut raw: RawSettings) -> RawSettings {
    if !raw.is_given(Setting::HttpTokenFile) && !raw.is_given(Setting::HttpOpen) {
        raw.set(Setting::HttpOpen, Origin::Default, vec!["true".to_owned()]);
    }
    raw
}

/// What these flags say.
pub(crate) fn flags(matches: &ArgMatches, settings: &[Setting]) -> RawSettings {
    let mut raw = RawSettings::default();
    for &setting in settings {
        let Some(values) = matches.get_many::<OsString>(setting.name()) else {
            continue;
        };
        match values.map(|value| value.to_str().map(str::to_owned)).collect() {
            Some(words) => raw.set(setting, Origin::Flag, words),
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
