//! `cargo xtask deb`: the Debian package, with the programs' own manual pages and completions in it.
//!
//! What is in it, is said in `crates/ultrasimple/Cargo.toml`; `--try` installs it in a container of Debian's packages, runs
//! it there as an administrator would, and purges it.

mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::images;
use crate::process::{self, output};
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// Builds it.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let is_tried = match args {
        [] => false,
        [word] if word == "--try" => true,
        _ => bail!("usage: cargo xtask deb [--try]"),
    };
    need_build_tools()?;
    need_commands(&["dpkg-deb"])?;
    let cargo_deb = Tools::open(workspace)?.cargo_deb()?;
    let programs = ["--release", "--package", "ultrasimple", "--package", "ultrasimple-ctl"];
    process::run(workspace.cargo("build").args(programs))?;
    let release = workspace.target.join("release");
    // Where cargo-deb looks for what was built.
    pages(&release.join("ultrasimple-ctl"), &release.join("deb"))?;

    let mut make = Command::new(cargo_deb);
    make.args(["--no-build", "--package", "ultrasimple"]).current_dir(&workspace.root);
    let made = output(&mut make)?;
    let package = made.lines().next_back().context("cargo-deb says nothing")?.trim();
    println!("made {package}");
    match (is_tried, images::engine()) {
        (false, _) => Ok(()),
        (true, Ok(())) => trial::run(workspace, Path::new(package)),
        (true, Err(why)) => {
            println!("skipped: trying it out needs a Docker engine ({why})");
            Ok(())
        }
    }
}

/// Writes manual pages and completions into folders of their own.
fn pages(ctl: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    let manual = folder.join("man1");
    output(Command::new(ctl).arg("man").arg("--to").arg(&manual))?;
    output(Command::new("gzip").args(["--recursive", "--best", "--no-name"]).arg(&manual))?;
    for program in ["ultrasimple", "ultrasimple-ctl"] {
        let files: [(&str, PathBuf); 3] = [
            ("bash", program.into()),
            ("fish", format!("{program}.fish").into()),
            ("zsh", format!("_{program}").into()),
        ];
        for (shell, name) in files {
            let script = output(Command::new(ctl).args(["completions", shell, program]))?;
            let folder = folder.join(shell);
            let written =
                fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(&name), script));
            written.with_context(|| format!("write {}", folder.join(&name).display()))?;
        }
    }
    Ok(())
}
