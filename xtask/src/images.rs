//! The images of a fleet in containers: pulled and built as anybody would, or where nothing can be pulled, made of
//! Debian's packages and of programs that are compiled here.
//!
//! What is made is kept under names of our own, and found again by the next run.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Ended, output, run_within, succeeds};
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// What the daemon's image begins with, when it can be pulled.
const PULLED_BASE: &str = "debian:bookworm-slim";
/// The image of our programs, of whatever it was made.
const PROGRAMS: &str = "ultrasimple-local/ultrasimple";
/// Nothing but glibc and libgcc, of Debian's packages.
const BASE: &str = "ultrasimple-local/base:1";
/// The daemon's image without the programs.
const RUNTIME: &str = "ultrasimple-local/runtime";
/// etcd, Prometheus and Python of Debian's packages.
const SERVERS: &str = "ultrasimple-local/servers:1";
/// The same, and SeaweedFS.
const STORE: &str = "ultrasimple-local/store:1";
const SERVER_PACKAGES: &str =
    "ca-certificates,etcd-client,etcd-server,libpython3-stdlib,prometheus,python3-minimal,wget";
/// Debian as an administrator has it, almost.
const DEBIAN: &str = "ultrasimple-local/debian:1";
const DEBIAN_PACKAGES: &str = "ca-certificates,libpython3-stdlib,python3-minimal,systemd";
/// A registry that is not there says so soon, or never.
const PULLS_WITHIN: Duration = Duration::from_mins(2);
/// The programs in the daemon's image.
const BINARIES: [&str; 2] = ["ultrasimple", "ultrasimple-ctl"];

/// Which images to use: variables of the Compose file, and their values. Those that are not named are public.
pub(crate) struct Images(pub(crate) Vec<(&'static str, String)>);

/// Whether there is an engine that answers, or why not.
pub(crate) fn engine() -> Result<(), String> {
    let mut asked = Command::new("docker");
    match run_within(asked.args(["version", "--format", "{{.Server.Version}}"]), PULLS_WITHIN) {
        Ok(Ended::Exited(status, _)) if status.success() => Ok(()),
        Ok(Ended::Exited(_, said)) => {
            Err(said.lines().next_back().unwrap_or("it does not answer").to_owned())
        }
        Ok(Ended::TimedOut) => Err("it does not answer".to_owned()),
        Err(_) => Err("there is no `docker`".to_owned()),
    }
}

impl Images {
    /// Makes what is not there.
    pub(crate) fn get(workspace: &Workspace, tools: &Tools) -> Result<Self> {
        let pull = run_within(&mut docker(["pull", "--quiet", PULLED_BASE]), PULLS_WITHIN)?;
        let ours = ("ULTRASIMPLE_IMAGE", PROGRAMS.to_owned());
        if matches!(pull, Ended::Exited(status, _) if status.success()) {
            let file = workspace.root.join("deploy/docker/Dockerfile");
            let mut build = Command::new("docker");
            build.args(["build", "--tag", PROGRAMS, "--file"]).arg(file).arg(&workspace.root);
            process::run(&mut build)?;
            return Ok(Self(vec![ours]));
        }
        println!("{PULLED_BASE} cannot be pulled: the images are made of Debian's packages");
        let maker = Maker::new(workspace)?;
        maker.programs()?;
        maker.servers(tools)?;
        let servers = ["ETCD_IMAGE", "PROMETHEUS_IMAGE", "PYTHON_IMAGE"];
        let servers = servers.map(|variable| (variable, SERVERS.to_owned()));
        let all = [ours, ("S3_IMAGE", STORE.to_owned())].into_iter().chain(servers);
        Ok(Self(all.collect()))
    }
}

/// The image of the daemon with the debug builds of here, which run where this host's own programs do.
pub(crate) fn of_programs(workspace: &Workspace) -> Result<&'static str> {
    Maker::new(workspace)?.programs()?;
    Ok(PROGRAMS)
}

/// Debian with systemd's own tools, for trying out the package.
pub(crate) fn of_debian(workspace: &Workspace) -> Result<&'static str> {
    Maker::new(workspace)?.debian(DEBIAN, "minbase", DEBIAN_PACKAGES)?;
    Ok(DEBIAN)
}

/// Makes images without a registry.
struct Maker<'a> {
    workspace: &'a Workspace,
    /// Where they are put together.
    folder: PathBuf,
    suite: String,
}

impl<'a> Maker<'a> {
    fn new(workspace: &'a Workspace) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("making images of Debian's packages takes root: run it as root");
        }
        // Programs that were compiled here need the glibc of here.
        let release = fs::read_to_string("/etc/os-release").context("tell which Debian this is")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("this is no Debian that has a name")?.to_owned();
        let folder = workspace.target.join("images");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { workspace, folder, suite })
    }

    /// The daemon's image, with debug builds: they check more of themselves.
    fn programs(&self) -> Result<()> {
        self.debian(BASE, "extract", "libc6,libgcc-s1")?;
        need_build_tools()?;
        need_commands(&["strip"])?;
        let mut build = self.workspace.cargo("build");
        process::run(build.args(BINARIES.iter().flat_map(|program| ["--package", program])))?;
        let root = self.empty("programs")?.join("rootfs");
        for program in BINARIES {
            let to = root.join("usr/bin").join(program);
            copy(&self.workspace.binary("debug", program), &to)?;
            process::output(Command::new("strip").arg("--strip-debug").arg(&to))?;
        }
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        copy(&Path::new("/").join(certificates), &root.join(certificates))?;
        let files = self.workspace.root.join("deploy/docker");
        let base = format!("BASE_IMAGE={BASE}");
        let mut runtime = docker(["build", "--quiet", "--target", "runtime", "--build-arg", &base]);
        runtime.args(["--tag", RUNTIME, "--file"]).arg(files.join("Dockerfile")).arg(&files);
        process::output(&mut runtime)?;
        let arg = format!("RUNTIME_IMAGE={RUNTIME}");
        let mut build = docker(["build", "--quiet", "--build-arg", &arg, "--tag", PROGRAMS]);
        build.arg("--file").arg(files.join("prebuilt.Dockerfile"));
        process::output(build.arg(self.folder.join("programs"))).map(drop)
    }

    /// The images of what else runs there.
    fn servers(&self, tools: &Tools) -> Result<()> {
        self.debian(SERVERS, "minbase", SERVER_PACKAGES)?;
        if is_there(STORE) {
            return Ok(());
        }
        let folder = self.empty("store")?;
        copy(&tools.weed()?, &folder.join("weed"))?;
        let file = format!("FROM {SERVERS}\nCOPY weed /usr/bin/weed\n");
        fs::write(folder.join("Dockerfile"), file).context("write a Dockerfile")?;
        process::output(docker(["build", "--quiet", "--tag", STORE]).arg(folder)).map(drop)
    }

    /// An image of these packages and what they need.
    fn debian(&self, image: &str, variant: &str, packages: &str) -> Result<()> {
        if is_there(image) {
            return Ok(());
        }
        need_commands(&["mmdebstrap"])?;
        println!("making {image} of {packages}: once per machine, a minute or two");
        let archive = self.folder.join("packages.tar");
        let mut make = Command::new("mmdebstrap");
        make.arg(format!("--variant={variant}")).arg(format!("--include={packages}"));
        output(make.arg(&self.suite).arg(&archive))?;
        output(docker(["import"]).arg(&archive).arg(image))?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
    }

    /// An empty folder of this name.
    fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }
}

fn is_there(image: &str) -> bool {
    succeeds(&mut docker(["image", "inspect", image]))
}

/// A command of the engine's client.
pub(crate) fn docker<const N: usize>(words: [impl AsRef<OsStr>; N]) -> Command {
    let mut command = Command::new("docker");
    command.args(words);
    command
}

/// Copies a file into an image, for everybody to read, and to run where it can be.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(from, to)?;
        let mode = if from.metadata()?.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
    };
    copied().with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
