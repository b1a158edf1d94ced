//! `docs/CONFIG.md`, made from the table of settings.

use std::fmt::Write;

use super::tests::context;
use super::{DurationText, Group, Kind, RawSettings, Setting, Settings, SizeText};

const HEAD: &str = "\
# Settings

<!-- Made from crates/core/src/config/table.rs by `cargo xtask docs`: change that, not this. -->

A setting has one name and can be given in three ways. The flag beats the variable, and the variable beats the file:

| | looks like | several values |
| --- | --- | --- |
| flag | `-interval 30s`, `--interval 30s` or `-interval=30s` | the flag several times |
| variable | `ULTRASIMPLE_INTERVAL=30s` | one to a line |
| TOML file, named by `-config` or `ULTRASIMPLE_CONFIG` | `interval = \"30s\"` | a list: `pattern = [\"/a/*.db\", \"/b/*.db\"]` |

`ultrasimple-ctl` reads the same file and the same variables, as far as they concern it. What is not known, out of bounds or
cannot be honoured stops the start, with every problem named at once. Times are `500ms`, `15s`, `5m`, `2h`, `1d`; sizes
`64MiB`, `16GiB`.

```toml
";

const BETWEEN: &str = "\
```

A secret on the command line can be seen by other users of the host, and one in the file by whoever may read it: the
variable, or a file of its own where there is a setting for that, is better.
";

const TAIL: &str = "
## Other variables

| variable | what it does |
| --- | --- |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`, \
`AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_CONTAINER_CREDENTIALS_…`, `AWS_EC2_METADATA_DISABLED` | where credentials come from \
without `-access-key`: the chain of the AWS SDK, which renews them before they expire |
| `RUST_LOG` | what is logged, such as `info` (the default), `debug`, `warn,ultrasimple_cluster=debug` |
| `OTEL_…` | where metrics go besides `/metrics`: see [METRICS.md](METRICS.md) |
| `TMPDIR` | where the default of `-scratch` is |
";

/// The file that the page shows: a fleet's node, as an operator would write it. A test reads it as the daemon does.
const EXAMPLE: &str = "\
pattern = \"/data/**/*.db\"
bucket = \"s3://saas-backups/production\"
region = \"eu-central-1\"
interval = \"15s\"
retention-days = 30
min-upload-interval = \"1m\"
memory-budget = \"512MiB\"

volume = [\"tenants\"]
node = \"backup-1\"
etcd = [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\", \"https://10.0.0.3:2379\"]
etcd-ca = \"/etc/ultrasimple/etcd-ca.pem\"

http = \"10.0.0.11:9810\"
http-token-file = \"/etc/ultrasimple/http-token\"
log-format = \"json\"
";

/// The whole page.
fn page() -> String {
    let mut page = format!("{HEAD}{EXAMPLE}{BETWEEN}");
    for group in Group::ALL {
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {}\n", group.heading());
        for &setting in Setting::ALL.iter().filter(|setting| setting.group() == group) {
            entry(&mut page, setting);
        }
    }
    page + TAIL
}

fn entry(page: &mut String, setting: Setting) {
    let value = match setting.value_name() {
        "" => String::new(),
        value => format!(" {value}"),
    };
    let mut facts = vec![format!("variable `{}`", setting.variable())];
    facts.extend(setting.default_word().map(|word| format!("default `{word}`")));
    facts.extend(match setting.kind() {
        Kind::Switch => Some("`true` or `false` in file and variable".to_owned()),
        Kind::Duration(min, max) => {
            Some(format!("from `{}` to `{}`", DurationText(min), DurationText(max)))
        }
        Kind::Size(min, max) => Some(format!("from `{}` to `{}`", SizeText(min), SizeText(max))),
        Kind::Count(min, max) => Some(format!("from `{min}` to `{max}`")),
        Kind::Choice(words) => {
            Some(words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
        Kind::Patterns | Kind::Texts => Some("several".to_owned()),
        Kind::Text | Kind::Secret => None,
    });
    // Stars and bars of patterns would be read as Markdown.
    let help = setting.help().replace('*', "\\*").replace('|', "\\|");
    let _ = write!(page, "\n**`{}{value}`** ({})\n\n{help}.\n", setting.flag(), facts.join("; "));
}

/// `cargo xtask docs` sets the variable.
#[test]
fn the_page_in_docs_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
    if std::env::var_os("ULTRASIMPLE_WRITE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == page(), "docs/CONFIG.md is stale: run `cargo xtask docs`");
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let raw = RawSettings::from_file("example.toml", EXAMPLE);
    let settings = Settings::check(&raw, &context()).unwrap();
    assert_eq!(settings.node.node.as_str(), "backup-1");
    assert_eq!(settings.fleet.unwrap().etcd.len(), 3);
}
