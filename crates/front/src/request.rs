//! What a client asked, as the caller receives it.

use std::net::SocketAddr;

use bytes::Bytes;

/// What the head of a gRPC request carried of use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// `grpc-timeout` in seconds. The front door keeps it by itself: at the deadline the client gets
    /// DEADLINE_EXCEEDED and the caller [`Request::Cancelled`].
    pub timeout_s: Option<f64>,
    /// Those of [`Metadata::NAMES`] that were there.
    pub entries: Vec<(&'static str, String)>,
}

impl Metadata {
    /// The entries that are passed on.
    pub const NAMES: [&'static str; 7] = [
        "authorization",
        "idempotency-key",
        "apex-tenant",
        "traceparent",
        "tracestate",
        "x-request-id",
        "apex-workspace",
    ];
}

/// Something that a client did. A `token` names one call for as long as it is open and is not given again.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A unary or server-streaming call with its message.
    Grpc {
        /// The call.
        token: u64,
        /// Index into [`crate::Options::methods`].
        method: u16,
        /// From the head.
        metadata: Metadata,
        /// The serialized message, not looked at.
        message: Bytes,
        /// The client.
        peer: SocketAddr,
    },
    /// A bidirectional call; its messages follow. Its answer is open: frames may be sent at once.
    GrpcOpen {
        /// The call.
        token: u64,
        /// Index into [`crate::Options::methods`].
        method: u16,
        /// From the head.
        metadata: Metadata,
        /// The client.
        peer: SocketAddr,
    },
    /// One more message of a bidirectional call.
    GrpcMessage {
        /// The call.
        token: u64,
        /// The serialized message, not looked at.
        message: Bytes,
    },
    /// The client of a bidirectional call sends no more, or the house is stopping and takes no more. It still
    /// receives: answer what was accepted, then end the stream.
    GrpcHalfClosed {
        /// The call.
        token: u64,
    },
    /// An HTTP request with its whole body.
    Http {
        /// The call.
        token: u64,
        /// `GET`, `POST`, …
        method: String,
        /// Still percent-encoded.
        path: String,
        /// Still percent-encoded, without the `?`; empty if none.
        query: String,
        /// Names in lower case; values as Latin-1. HTTP/2's `:authority` comes as `host`.
        headers: Vec<(String, String)>,
        /// At most [`crate::Options::body_bytes_max`].
        body: Bytes,
        /// The client.
        peer: SocketAddr,
    },
    /// The buffer of a stream is nearly empty, as asked for by a reply's `tell_when_drained`.
    StreamDrained {
        /// The call.
        token: u64,
    },
    /// The call is over without the answer having been taken: the client went away, its deadline passed, or it was too
    /// slow. Replies to the token are ignored from now on. Comes after the request itself.
    Cancelled {
        /// The call.
        token: u64,
    },
}

impl Request {
    /// Bytes that it holds in the queue.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Grpc { message, .. } | Self::GrpcMessage { message, .. } => message.len(),
            Self::Http { body, .. } => body.len(),
            _ => 0,
        }
    }
}
