//! What the process itself costs, under the names that Prometheus' own clients use; read from `/proc` where there is
//! one, and left out elsewhere.

use super::metrics::{head, sample};
use std::fs;

/// Appends memory and file descriptors.
pub(super) fn write(out: &mut String) {
    if let Some(bytes) = resident() {
        let name = "process_resident_memory_bytes";
        head(out, name, "Memory that the process holds.", "gauge");
        sample(out, name, "", bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let name = "process_open_fds";
        head(out, name, "Open file descriptors.", "gauge");
        // The listing itself is one.
        sample(out, name, "", open.count().saturating_sub(1));
    }
    if let Some(most) = most_descriptors() {
        let name = "process_max_fds";
        head(out, name, "The most file descriptors that may be open.", "gauge");
        sample(out, name, "", most);
    }
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How many files the process may have open.
pub(crate) fn most_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
