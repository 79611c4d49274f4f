//! # The front door
//!
//! Holds listeners, HTTP/1.1, HTTP/2, gRPC framing and server-sent events, on its own runtime and threads.
//! May know bytes, headers and time. Never looks into a message, never decides what an answer is, never waits for
//! the caller: it knows no other room.
//! In: connections of clients; batches of [`Reply`] and [`Publication`] from the caller.
//! Out: batches of [`Request`], announced by one eventfd that is written at most once until the next [`Front::drain`].
//!
//! Everything is bounded: connections, open calls, queued requests and bytes, bodies, headers, and the buffer of each
//! viewer. "Full" is the one reply it gives by itself, beside the refusals of the protocols (too large, too late,
//! unknown method, broken frame).
//!
//! gRPC is framed here over hyper rather than by tonic: what passes is opaque bytes, and batches, cancels, deadlines
//! and one buffer per viewer need the body types anyway (`docs/decisions/0006-front-door.md`, with figures).

mod body;
mod calls;
mod connection;
mod details;
mod error;
mod front;
mod grpc;
mod house;
mod http_call;
mod inbox;
mod listener;
mod options;
mod outgoing;
mod reflection;
mod reply;
mod request;
mod sse;
mod stats;
mod topics;
mod wake;

pub use error::FrontError;
pub use front::Front;
pub use options::{Method, MethodKind, Options};
pub use reply::{Follow, Frame, Publication, Reply};
pub use request::{Metadata, Request};
pub use stats::Stats;

/// The protos of `proto/` as a serialized `google.protobuf.FileDescriptorSet`: all of `apex.v1`, and
/// `grpc.health.v1`. What reflection serves unless [`Options::descriptor_set`] says otherwise.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/apex.bin"));

/// Takes a lock, also one whose holder panicked: every critical section here leaves its data whole at each step.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
