//! The command line: what can be asked for, and its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ultrasimple_command_line::argv::{Flags, normalised};

use crate::filter::Filter;
use crate::{
    backups, catalog, connect, cost, databases, fleet, generate, health, hold, prune, purge,
    status, verify,
};

const EXAMPLES: &str = "\
Every flag takes one dash or two, before or after the command. The settings of the bucket can also stand
in the daemon's file (-config) or in ULTRASIMPLE_… variables; a flag beats a variable, a variable the file.

Examples:
  ultrasimple-ctl -bucket my-backups databases
  ultrasimple-ctl -bucket my-backups backups /data/acme/databases/users/branches/main/tenants/t1.db
  ultrasimple-ctl -bucket my-backups restore acme/users/main/t1/t1 -o t1.db --at '2h ago'
  ultrasimple-ctl -bucket file:///srv/backups restore --all --to /restored --match '/data/acme/*'
  ultrasimple-ctl -config /etc/ultrasimple.toml status
  ultrasimple-ctl -config /etc/ultrasimple.toml shards --moving
  ultrasimple-ctl -bucket my-backups verify --sample 1%
  ultrasimple-ctl -config /etc/ultrasimple.toml prune -dry-run

Exit status: 0 all well, 1 nothing could be done, 2 wrong usage, 3 some databases failed or need attention,
4 verify: the worst is a WARNING.";

const RESTORE_EXAMPLES: &str = "\
DB is a source path (/data/…/t1.db), a key stem (acme/users/main/t1/t1) or the key of one backup
(acme/users/main/t1/t1-20240115-140000.db.lz4). TIME is 2024-01-15T13:05:00Z, 2024-01-15T13:05 (UTC),
2024-01-15 (its first moment) or '2h ago'.

Every restored file is compared with the backup's BLAKE3 and passes integrity_check before it gets its
name; until then it is a temporary file beside it. With --all, a second run skips what is already right.

Examples:
  ultrasimple-ctl -bucket my-backups restore /data/acme/tenants/t1.db -o /tmp/t1.db
  ultrasimple-ctl -bucket my-backups restore acme/t1/t1 -o t1.db --at 2024-01-15T13:05:00Z --or-older
  ultrasimple-ctl -bucket my-backups restore --all --to /restored --at '1d ago'
  ultrasimple-ctl -bucket my-backups restore --all --to /restored --match 'acme/*' --json";

/// Looks into the bucket of the Ultra-Simple Replicator, restores from it, and keeps it in order: that needs
/// nothing but the bucket. Looks into the fleet of those who write to it: that asks etcd and the nodes.
#[derive(Debug, Parser)]
#[command(name = "ultrasimple-ctl", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print one JSON document on stdout (see docs/CTL.md)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The fleet and the bucket at a glance, and what needs attention
    #[command(after_help = status::EXAMPLES)]
    Status(status::Status),
    /// Who owns which shard, and how far each is behind
    #[command(after_help = fleet::shards::EXAMPLES)]
    Shards(fleet::shards::Shards),
    /// The nodes of the fleet; drain one, or take that back
    #[command(after_help = fleet::nodes::EXAMPLES)]
    Nodes(fleet::nodes::Nodes),
    /// Whether the daemon of this host lives, or is ready: for health checks
    #[command(after_help = health::EXAMPLES)]
    Health(health::Health),
    /// List the databases that have backups
    Databases(databases::Databases),
    /// List the backups of one database: the hours held, the newest first
    Backups(backups::Backups),
    /// Restore one database, or all of them
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Read backups back and prove that they can be restored
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Verify),
    /// Delete what retention gives up, or show what that is and why
    #[command(after_help = prune::EXAMPLES)]
    Prune(prune::Prune),
    /// Delete all backups of a database, the last one included, for ever
    #[command(after_help = purge::EXAMPLES)]
    Purge(purge::Purge),
    /// Keep all backups of a database until it is released: nothing deletes any
    Hold(hold::Hold),
    /// Let retention have the backups of a database again
    Release(hold::Release),
    /// List the databases that are held
    Holds,
    /// Make the catalogs anew, or print them
    Catalog(catalog::Catalog),
    /// Print a script that completes the flags and commands in a shell
    #[command(after_help = generate::COMPLETIONS_EXAMPLES)]
    Completions(generate::Completions),
    /// Print a manual page, or write all of them
    #[command(after_help = generate::MAN_EXAMPLES)]
    Man(generate::Man),
    /// Reckon what backing up costs in a month: requests, storage, and what decides; from given
    /// numbers, or from the catalogs of a bucket
    #[command(after_help = cost::args::EXAMPLES)]
    Cost(cost::args::Cost),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Restore {
    /// The database: a source path, a key stem, or the key of one backup
    #[arg(value_name = "DB", required_unless_present = "all", requires = "output")]
    pub(crate) database: Option<OsString>,
    /// Where to put the database
    #[arg(short = 'o', long, value_name = "FILE", requires = "database")]
    pub(crate) output: Option<PathBuf>,
    /// Restore all databases
    #[arg(long, conflicts_with_all = ["database", "output"], requires = "to")]
    pub(crate) all: bool,
    /// The directory below which the databases get their source paths. Created when missing
    #[arg(long, value_name = "DIR", requires = "all")]
    pub(crate) to: Option<PathBuf>,
    /// Only databases whose key stem or source path matches as a whole; '*' also matches '/'
    #[arg(long, value_name = "GLOB", requires = "all", value_parser = Filter::parse)]
    pub(crate) r#match: Option<Filter>,
    /// DIR/VOLUME/path instead of DIR/path. Always so where several volumes are restored
    #[arg(long, requires = "all")]
    pub(crate) by_volume: bool,
    /// Databases restored at once [default: 8 per core]
    #[arg(long, value_name = "N", requires = "all",
          value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) parallel: Option<u16>,
    /// The newest capture at or before this time, instead of the newest of all
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Where that backup is damaged, lost or marked, take the next older good one
    #[arg(long)]
    pub(crate) or_older: bool,
    /// Restore marked backups too: their check failed when they were taken
    #[arg(long)]
    pub(crate) marked_ok: bool,
    /// Replace what is there, and remove a -wal, -shm or -journal beside it
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not check what was restored with SQLite's integrity check
    #[arg(long)]
    pub(crate) no_check: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) cli: Cli,
    pub(crate) matches: clap::ArgMatches,
}

/// Reads the command line; the first word is the program's name.
///
/// # Errors
/// With clap's error: a mistake, or the help that was asked for.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_else(|| "ultrasimple-ctl".into());
    let mut command = Cli::command().args(connect::arguments());
    command.build();
    let normal = normalised(words, &Flags::of(&command));
    let matches = command.try_get_matches_from([program].into_iter().chain(normal))?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok(Request { cli, matches })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        format!("ultrasimple-ctl {line}")
            .split(' ')
            .map(OsString::from)
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().args(connect::arguments()).debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [
            "-bucket b databases",
            "databases --bucket=b",
            "-json databases -bucket b acme/*",
            "restore /data/t.db -o out.db -bucket b -at 2h",
            "restore --all -to dir -match x* -bucket b",
        ] {
            let request = parse(words(line)).unwrap();
            let bucket = request.matches.get_one::<OsString>("bucket");
            assert_eq!(bucket, Some(&OsString::from("b")), "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for line in [
            "",
            "restore",
            "restore db",
            "restore -o x",
            "restore --all",
            "restore --all --to d db",
            "restore --all --to d -o x",
            "restore db -o x --match y",
            "restore --all --to d --parallel 0",
            "restore --all --to d --match a[",
            "backups",
            "databases a b",
            "databases -nope",
            "-bucket databases -bucket",
        ] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }
}
