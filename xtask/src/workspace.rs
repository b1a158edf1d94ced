//! Where things are: the checkout, and the directory that builds go to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// One checkout of the repository and its build directory.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, which `CARGO_TARGET_DIR` may have moved anywhere.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this program was started from.
    pub(crate) fn find() -> Result<Self> {
        // Asked at run time first: clones that share a target directory share this program.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in no workspace")?.to_owned();
        // This program is `<target>/<profile>/xtask`.
        let exe = std::env::current_exe().context("find this program's own path")?;
        let target = exe.ancestors().nth(2).context("xtask lies in no target directory")?;
        Ok(Self { root, target: target.to_owned() })
    }

    /// A command of the cargo that runs us, in the workspace's root.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = self.builder(&cargo());
        command.arg(subcommand);
        command
    }

    /// A command that builds, in the workspace's root. Without what `cargo run` says of this very program: build scripts
    /// look at that, and would be run anew whenever cargo is called without us, or by another command, in between.
    pub(crate) fn builder(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let of_this_program = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            });
            if of_this_program {
                command.env_remove(name);
            }
        }
        command
    }

    /// A built program: `binary("release", "ultrasimple")`.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// `path` as a person would type it: relative to the root where it lies inside.
    pub(crate) fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
