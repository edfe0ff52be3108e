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
        let Ok(text) = std::fs::read_to_string(path) else { return ticks(pid) };
        nanoseconds +=
            text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Returns the sum of `utime` and `stime` in `/proc/PID/stat`.
fn ticks(pid: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
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
