//! The text of `-help`, made from core's table of settings.

use ultrasimple_core::config::{DurationText, Group, Kind, Setting, SizeText};

const WIDTH: usize = 92;
const INDENT: usize = 6;

const ABOUT: &str = "\
ultrasimple: backs up every changed SQLite database to S3, hour by hour

Usage: ultrasimple -bucket BUCKET [-pattern GLOB]… [-FLAG VALUE]…

Every flag takes one dash or two, and its value after a space or '='.
";

const EXAMPLES: &str = "\
Examples:
  ultrasimple -dry-run -pattern \"/your/databases/*.db\"
      What would be backed up, and under which keys?
  ultrasimple -bucket saas-backups -pattern \"/data/tenants/*/databases/*.db\" \\
      -path \"{{tenant}}/{{database}}\"
  ultrasimple -bucket file:///mnt/backups -pattern \"/srv/**/*.db\" -interval 5m
      Into a directory, without S3.
  ultrasimple -bucket prod-backups -pattern \"/var/lib/myapp/shards/*/data/*.db\" \\
      -concurrent 50 -interval 1m
";

const STATUSES: &str = "\
Exit status:
  0  all well
  1  could not start, or could not go on
  2  wrong flags or settings
  3  some databases failed (-once, -dry-run)
";

/// The whole text.
pub(crate) fn text() -> String {
    let mut lines = vec![ABOUT.to_owned()];
    for group in Group::ALL {
        lines.push(format!("{}:", group.heading()));
        for &setting in Setting::ALL.iter().filter(|setting| setting.group() == group) {
            let line = format!("  {} {}", setting.flag(), setting.value_name());
            lines.push(line.trim_end().to_owned());
            lines.extend(wrapped(&describe(setting), INDENT));
        }
        lines.push(String::new());
    }
    lines.push("Other:".to_owned());
    lines.push("  -help, -h\n      This text.\n  -version, -V\n      The version.\n".to_owned());
    let layers = format!(
        "Each setting can also be given by a variable ({}, {}, …; several values of one setting stand one to a line), or \
         by its name without the dash in the TOML file that -config names. Flag beats variable beats \
         file.",
        Setting::Bucket.variable(),
        Setting::RetentionDays.variable(),
    );
    lines.extend(wrapped(&layers, 0));
    lines.push(String::new());
    format!("{}\n{EXAMPLES}\n{STATUSES}", lines.join("\n"))
}

/// Help, bounds and default of a setting, in sentences.
fn describe(setting: Setting) -> String {
    let bounds = match setting.kind() {
        Kind::Duration(min, max) => {
            format!(" From {} to {}.", DurationText(min), DurationText(max))
        }
        Kind::Size(min, max) => format!(" From {} to {}.", SizeText(min), SizeText(max)),
        Kind::Count(min, max) => format!(" From {min} to {max}."),
        Kind::Switch
        | Kind::Text
        | Kind::Texts
        | Kind::Secret
        | Kind::Patterns
        | Kind::Choice(_) => String::new(),
    };
    let default = setting.default_word().map(|word| format!(" Default: {word}"));
    format!("{}.{bounds}{}", setting.help(), default.unwrap_or_default())
}

/// `text` in lines of at most [`WIDTH`] characters (a longer word stands alone), indented.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{:indent$}{line}", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(format!("{:indent$}{line}", ""));
    lines
}
