//! Everything that can go wrong, as one enum that can be cloned to every waiter.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that are not what was written: where, and why we think so. The log does not open over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File name within the folder of the log.
    pub segment: String,
    /// Byte offset in that file of the frame or field that does not verify.
    pub offset: u64,
    /// Position of the first record that can no longer be trusted.
    pub position: u64,
    /// What did not verify.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {} (record {}): {}", self.segment, self.offset, self.position, self.reason)
    }
}

/// An error of the log. The sentence says what happened and, where there is something to do, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// The operating system refused.
    Io {
        /// What was tried: `write`, `fdatasync`, `open`, …
        op: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The kind, for decisions.
        kind: io::ErrorKind,
        /// The words of the system.
        message: String,
    },
    /// Another process (or another `Log` of this one) has the folder.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process id written in it, if it could be read.
        pid: Option<u32>,
    },
    /// Stored bytes do not verify.
    Damage(Damage),
    /// `append` was told another position than the next one: somebody else wrote, or a batch was lost. Nothing is kept.
    Conflict {
        /// What the caller expected.
        expected: u64,
        /// The position that the next record gets.
        next: u64,
    },
    /// The queue is full; try again after the next wake-up.
    QueueFull {
        /// Bytes that wait now.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk is full and the reserve is used up. Frees itself when there is space again.
    NoSpace,
    /// A record, batch or snapshot is over its limit.
    TooLarge {
        /// What is: `record`, `batch`.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The blobs of a tenant would be over the quota.
    Quota {
        /// Of the one that is refused.
        bytes: u64,
        /// Of those that are there.
        used: u64,
        /// The most that they may have together.
        quota: u64,
    },
    /// The arguments make no sense (framing of a batch, count, options, a snapshot ahead of the log).
    Invalid(String),
    /// A write or sync failed earlier: nothing is acknowledged any more. Exit and open again.
    Poisoned(Box<LogError>),
    /// The log was closed.
    Closed,
    /// A key is missing, or is not one. The sentence says which and where to name it.
    Key(String),
    /// The records asked for were trimmed.
    Trimmed {
        /// The first position that is still kept.
        start: u64,
    },
}

impl LogError {
    pub(crate) fn io(op: &'static str, path: &Path, error: &io::Error) -> Self {
        LogError::Io { op, path: path.to_path_buf(), kind: error.kind(), message: error.to_string() }
    }

    pub(crate) fn damage(segment: &str, offset: u64, position: u64, reason: impl Into<String>) -> Self {
        LogError::Damage(Damage { segment: segment.to_owned(), offset, position, reason: reason.into() })
    }

    /// True where the disk or a quota is full.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            LogError::Io { kind, .. } => matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            LogError::NoSpace => true,
            LogError::Poisoned(cause) => cause.is_out_of_space(),
            _ => false,
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { op, path, message, .. } => write!(f, "{op} {}: {message}", path.display()),
            LogError::Locked { path, pid: Some(pid) } => {
                write!(f, "{} is held by process {pid}; stop it or use another folder", path.display())
            }
            LogError::Locked { path, pid: None } => {
                write!(f, "{} is held by another process; stop it or use another folder", path.display())
            }
            LogError::Damage(damage) => damage.fmt(f),
            LogError::Conflict { expected, next } => {
                write!(f, "append expected position {expected}, the next one is {next}")
            }
            LogError::QueueFull { bytes, bytes_max } => {
                write!(f, "the log's queue is full ({bytes} of {bytes_max} bytes); try again after the next wake-up")
            }
            LogError::NoSpace => f.write_str("no space left on the disk of the log; free some, it goes on by itself"),
            LogError::TooLarge { what, bytes, bytes_max } => {
                write!(f, "a {what} of {bytes} bytes is over the limit of {bytes_max}")
            }
            LogError::Quota { bytes, used, quota } => {
                write!(f, "{bytes} bytes are over the quota: {used} of {quota} are used")
            }
            LogError::Invalid(reason) | LogError::Key(reason) => f.write_str(reason),
            LogError::Poisoned(cause) => write!(f, "the log stopped after a failure, open it again: {cause}"),
            LogError::Closed => f.write_str("the log is closed"),
            LogError::Trimmed { start } => write!(f, "records before {start} were trimmed"),
        }
    }
}

impl std::error::Error for LogError {}
