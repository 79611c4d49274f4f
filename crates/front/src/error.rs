//! Why the front door could not open.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why [`crate::Front::start`] failed. Nothing is listening after any of them.
#[derive(Debug)]
pub enum FrontError {
    /// The address belongs to another process, or to another front door of this one.
    PortInUse(SocketAddr),
    /// The address is not one of this machine, or may not be bound by this user.
    Bind(SocketAddr, io::Error),
    /// The options contradict themselves; the sentence says how.
    Options(String),
    /// The descriptor set for reflection is not a `FileDescriptorSet`.
    Descriptors(String),
    /// Threads, an eventfd or the poller could not be had.
    System(io::Error),
}

impl fmt::Display for FrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortInUse(addr) => write!(f, "{addr} is in use by another process"),
            Self::Bind(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::Options(sentence) => write!(f, "{sentence}"),
            Self::Descriptors(sentence) => write!(f, "the descriptor set for reflection is broken: {sentence}"),
            Self::System(error) => write!(f, "the front door could not start: {error}"),
        }
    }
}

impl std::error::Error for FrontError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) | Self::System(error) => Some(error),
            Self::PortInUse(_) | Self::Options(_) | Self::Descriptors(_) => None,
        }
    }
}

impl From<io::Error> for FrontError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
