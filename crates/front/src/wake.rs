//! The bell: an eventfd that is written at most once until it is armed again.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

pub(crate) struct Wake {
    fd: OwnedFd,
    armed: AtomicBool,
    writes: AtomicU64,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { fd, armed: AtomicBool::new(true), writes: AtomicU64::new(0) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Rings, unless it has rung since it was armed.
    pub(crate) fn ring(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            self.writes.fetch_add(1, Ordering::Relaxed);
            // Can only fail when the counter is full, and then it is readable, which is all that is wanted.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Silences and arms it. Call it before taking what it rang for: what comes in between rings again.
    pub(crate) fn arm(&self) {
        // Fails when it has not rung, which is no error here.
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        self.armed.store(true, Ordering::Release);
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}
