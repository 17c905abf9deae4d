//! Measures of processes and of this machine, as the system reports them. Without `/proc` there are fewer.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Kernels count processor time for `/proc` in hundredths of a second, whatever their own clock.
const TICK: Duration = Duration::from_millis(10);

/// The memory of a process, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Everything resident, the pages of the binary included.
    pub resident: f64,
    /// Private memory: heap and stacks.
    pub own: f64,
    /// The most that was resident at a time, so far.
    pub most: f64,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Some(Memory {
        resident: field("VmRSS:")?,
        own: field("RssAnon:")?,
        most: field("VmHWM:")?,
    })
}

/// The processor time that a process has used.
pub fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks(&stat).map(|ticks| TICK * ticks)
}

/// User and system time: the fields 14 and 15, counted from the pid. The name, field 2, may contain
/// anything, brackets included.
fn ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// Processor and cores, for the heading of a report.
pub fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model.trim());
    format!("{cores} cores of {model}")
}

/// The type of the file system below `folder`.
pub fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let below = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (Path::new(fields.next()?), fields.next()?);
        folder
            .starts_with(at)
            .then(|| (at.components().count(), kind))
    });
    // Of two that are mounted over each other the later one counts, which `max_by_key` gives.
    below
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194304 500 0 0 0 170 30 0 0 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_used_some_time() {
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident >= memory.own && memory.own > 0.0);
        assert!(memory.most >= memory.own);
        assert!(processor_time(std::process::id()).is_some());
        assert!(file_system(&std::env::temp_dir()).is_some());
    }
}
