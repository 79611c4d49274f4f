//! The wake-up: an eventfd that is rung once and then stays silent until it is armed again.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

pub(crate) struct Bell {
    fd: OwnedFd,
    is_armed: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { fd, is_armed: AtomicBool::new(true) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// One system call at the first ring after an arming, none after that.
    pub(crate) fn ring(&self) {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.ring_always();
        }
    }

    /// For news that must not be missed whatever the state of the arming.
    pub(crate) fn ring_always(&self) {
        // The only failure is a counter at its top, and then the bell is ringing already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Silences and arms. Whoever calls this looks at the news afterwards, not before: what comes after rings again.
    pub(crate) fn rearm(&self) {
        // Fails only when the bell was not rung.
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        self.is_armed.store(true, Ordering::SeqCst);
    }
}
