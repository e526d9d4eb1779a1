//! The process as the system sees it, from `/proc`, under the names that all programs use. Where there
//! is no `/proc` these have no value.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Bytes of memory.
pub(super) fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Descriptors that are open.
pub(super) fn descriptors() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is that of the folder, which is being read.
    Some(open.saturating_sub(1))
}

/// Descriptors that there may be.
pub(super) fn most_descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let before = descriptors().unwrap();
        let _more = fs::File::open("/proc/self/statm").unwrap();
        assert!(resident().unwrap() > 100_000);
        assert!(before >= 1 && before < most_descriptors().unwrap());
    }
}
