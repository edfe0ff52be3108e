//! CPU time, memory and disk of a process, from `/proc`.

use std::{path::Path, time::Duration};

use anyhow::Context;

/// Returns the CPU time of a process so far, of all threads, user and system, in nanoseconds if the kernel records them,
/// otherwise in clock ticks of 10 ms.
pub fn time(pid: u32) -> anyhow::Result<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("this benchmark needs /proc")?;
    let mut nanoseconds = 0;
    for task in tasks {
        let path = task?.path().join("schedstat");
        let Ok(text) = std::fs::read_to_string(path) else { return ticks(pid, &[USER, SYSTEM]) };
        nanoseconds +=
            text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Fields of `/proc/PID/stat`, counted from the state of the process (proc_pid_stat(5)). The times are in clock ticks; the last two
/// are those of children that have ended.
const PARENT: usize = 1;
const USER: usize = 11;
const SYSTEM: usize = 12;
const WAITED_FOR_USER: usize = 13;
const WAITED_FOR_SYSTEM: usize = 14;

fn ticks(pid: u32, fields: &[usize]) -> anyhow::Result<Duration> {
    let ticks = fields.iter().map(|number| field(pid, *number)).sum::<anyhow::Result<u64>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn field(pid: u32, number: usize) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before them may contain anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    Ok(fields.split_whitespace().nth(number).context("a short /proc/PID/stat")?.parse()?)
}

/// Returns the CPU time of a process and of its children so far, including those that have ended.
pub fn time_with_children(pid: u32) -> anyhow::Result<Duration> {
    let mut total = time(pid)? + ticks(pid, &[WAITED_FOR_USER, WAITED_FOR_SYSTEM])?;
    let processes = std::fs::read_dir("/proc")?.flatten();
    for process in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        // A process may end meanwhile.
        if field(process, PARENT).is_ok_and(|parent| parent == u64::from(pid)) {
            total += time(process).unwrap_or_default();
        }
    }
    Ok(total)
}

/// Returns the resident memory of a process, in bytes.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Returns the size of the files in a folder and its subfolders, in bytes.
pub fn disk(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
