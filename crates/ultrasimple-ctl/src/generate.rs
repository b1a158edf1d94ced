//! `completions` and `man`: made from the definitions that the two programs read their command lines by.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use ultrasimple_command_line::daemon;

use crate::args::Cli;
use crate::{Outcome, connect, show};

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  ultrasimple-ctl completions bash > /etc/bash_completion.d/ultrasimple-ctl
  ultrasimple-ctl completions zsh ultrasimple > /usr/share/zsh/site-functions/_ultrasimple
  ultrasimple-ctl completions fish > ~/.config/fish/completions/ultrasimple-ctl.fish";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  ultrasimple-ctl man | man -l -
  ultrasimple-ctl man --to /usr/local/share/man/man1";

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: For,
    /// For which program
    #[arg(value_name = "PROGRAM", default_value = "ultrasimple-ctl")]
    program: Program,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Of which program
    #[arg(value_name = "PROGRAM", default_value = "ultrasimple-ctl", conflicts_with = "to")]
    program: Program,
    /// Write the pages of both programs and all commands into this directory
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Program {
    UltrasimpleCtl,
    Ultrasimple,
}

impl Program {
    fn command(self) -> clap::Command {
        match self {
            Self::UltrasimpleCtl => Cli::command().args(connect::arguments()),
            Self::Ultrasimple => daemon::command(),
        }
    }
}

/// Prints a script for a shell.
///
/// # Errors
/// When stdout cannot be written.
pub(crate) fn completions(args: &Completions) -> anyhow::Result<Outcome> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut command = args.program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    show::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::AllWell)
}

/// Prints a manual page, or writes all of them.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn man(args: &Man) -> anyhow::Result<Outcome> {
    if let Some(to) = &args.to {
        for program in [Program::UltrasimpleCtl, Program::Ultrasimple] {
            write(program.command(), to)
                .with_context(|| format!("cannot write to --to {}", to.display()))?;
        }
        return Ok(Outcome::AllWell);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(args.program.command()).render(&mut page)?;
    show::print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::AllWell)
}

fn write(command: clap::Command, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    clap_mangen::generate_to(command, to)
}
