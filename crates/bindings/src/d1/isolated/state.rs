//! How far a worker is with a call that writes: a byte that outlives it, in a file that its database reads when
//! the worker is gone, or is to be killed.

use std::os::fd::{AsFd, OwnedFd};

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of it is in the database.
    Running = 0,
    /// All of it is, or nothing.
    Committing = 1,
    /// All of it is.
    Committed = 2,
}

/// The file; both ends have it open.
#[derive(Debug)]
pub(super) struct State(OwnedFd);

impl State {
    /// One in memory.
    pub(super) fn new() -> std::io::Result<Self> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(Self(rustix::fs::memfd_create("d1-worker", flags)?))
    }

    pub(super) const fn of(file: OwnedFd) -> Self {
        Self(file)
    }

    /// The same for another process.
    pub(super) fn share(&self) -> std::io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    pub(super) fn set(&self, phase: Phase) {
        // A byte in memory, which there is room for.
        let _ = rustix::io::pwrite(&self.0, &[phase as u8], 0);
    }

    pub(super) fn get(&self) -> Phase {
        let mut byte = [0];
        match rustix::io::pread(&self.0, &mut byte, 0) {
            Ok(1) if byte == [Phase::Committed as u8] => Phase::Committed,
            Ok(1) if byte == [Phase::Committing as u8] => Phase::Committing,
            _ => Phase::Running,
        }
    }
}
