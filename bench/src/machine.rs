//! What there is to know about the machine that figures were measured on, and about a process on it.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};

/// Processor, cores, memory, kernel, and how busy it was just before.
pub(crate) fn facts() -> Value {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

/// Lets this process and those that it starts have as many files open as it may allow them. Some keep several of each
/// database open.
pub(crate) fn allow_open_files() -> Result<()> {
    let set = |maximum| {
        let limit = Rlimit { current: Some(maximum), maximum: Some(maximum) };
        rustix::process::setrlimit(Resource::Nofile, limit)
    };
    // Only root may have more than it was given.
    let given = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(MANY_FILES);
    let allowed = set(given.max(MANY_FILES)).or_else(|_| set(given));
    allowed.context("raise the limit of open files")
}

const MANY_FILES: u64 = 200_000;

/// The resident memory of a process in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    Ok(in_status(process, "VmRSS:")? * 1_024)
}

/// The most that it ever was.
pub(crate) fn peak(process: u32) -> Result<u64> {
    Ok(in_status(process, "VmHWM:")? * 1_024)
}

/// How many threads a process has.
pub(crate) fn threads(process: u32) -> Result<u64> {
    in_status(process, "Threads:")
}

fn in_status(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no {name}"))
}

/// The files that a process has open. Connections are left out: a client keeps some for a while.
pub(crate) fn open_files(process: u32) -> Result<usize> {
    let path = format!("/proc/{process}/fd");
    let open = std::fs::read_dir(&path).with_context(|| format!("read {path}"))?;
    // One that is closed by now has no target.
    let targets = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    Ok(targets.filter(|target| !target.to_string_lossy().starts_with("socket:")).count())
}

/// The processor time that a process has used, by itself and in the kernel, to the nanosecond or as well as the kernel
/// counts: all its threads, those that have ended included, and not its children.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    let clock = process_clock(process)?;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    if failed {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("read the processor time of process {process}"));
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?);
    Ok(Duration::new(seconds, nanoseconds))
}

fn process_clock(process: u32) -> Result<libc::clockid_t> {
    let mut clock = 0;
    let process_id = libc::pid_t::try_from(process)?;
    // SAFETY: `clock` is a valid place for the answer.
    let error = unsafe { libc::clock_getcpuclockid(process_id, &raw mut clock) };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error))
            .with_context(|| format!("find the clock of process {process}"));
    }
    Ok(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_files_and_time() {
        let this = std::process::id();
        // The kernel counts for each processor, and adds up now and then.
        let (resident, peak) = (resident(this).unwrap(), peak(this).unwrap());
        assert!(resident > 0 && peak + (4 << 20) >= resident, "{peak} {resident}");
        assert!(open_files(this).unwrap() > 0 && threads(this).unwrap() > 0);
        let before = processor_time(this).unwrap();
        let mut sum = 0_u64;
        while processor_time(this).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn what_is_no_process_is_an_error() {
        // Linux gives no id above 2^22.
        let nobody = 1 << 23;
        assert!(resident(nobody).is_err() && processor_time(nobody).is_err());
    }
}
