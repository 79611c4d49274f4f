//! What the front door is told when it starts. Read once.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Who sends how many messages in a gRPC method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One message in, one out.
    Unary,
    /// One message in, a stream out.
    ServerStream,
    /// Streams both ways.
    Bidi,
}

/// One gRPC method that is passed to the caller.
#[derive(Clone, Debug)]
pub struct Method {
    /// As in the request line: `/apex.v1.RunService/StartRun`.
    pub path: String,
    /// Its shape.
    pub kind: MethodKind,
}

/// Where to listen, what to accept, and every bound.
#[derive(Debug)]
pub struct Options {
    /// Addresses to listen on. Each serves gRPC, HTTP/1.1, HTTP/2 without TLS (prior knowledge) and SSE.
    pub listen: Vec<SocketAddr>,
    /// Listening sockets that were opened by somebody else, such as systemd.
    pub inherited: Vec<OwnedFd>,
    /// Let several processes share the address (`SO_REUSEPORT`). Off by default, so that a second gateway is told
    /// that the port is taken.
    pub reuse_port: bool,
    /// Threads of the runtime.
    pub threads: usize,
    /// The gRPC methods; a request names one by its index here.
    pub methods: Vec<Method>,
    /// What reflection serves; `None` is [`crate::DESCRIPTOR_SET`].
    pub descriptor_set: Option<Vec<u8>>,
    /// Largest HTTP body and gRPC message that is accepted.
    pub body_bytes_max: usize,
    /// Largest body of `PUT /blobs`; it counts against `queue_bytes_max` like every body.
    pub blob_bytes_max: usize,
    /// Largest request head, all headers together.
    pub header_bytes_max: usize,
    /// Requests that wait for [`crate::Front::drain`]; beyond it new ones are refused.
    pub queue_requests_max: usize,
    /// Bytes of bodies that are being read or wait for [`crate::Front::drain`]; beyond it new ones are refused.
    pub queue_bytes_max: usize,
    /// Calls that have no answer yet, and streams that are open; beyond it new ones are refused.
    pub calls_max: usize,
    /// Connections; beyond it new ones are closed at once.
    pub connections_max: usize,
    /// HTTP/2 streams of one connection.
    pub concurrent_streams_max: u32,
    /// HTTP/2: ping a silent connection after this time, and close it when it does not answer for as long again.
    pub keepalive_s: f64,
    /// Time for a request head, and for an idle HTTP/1.1 connection to send its next one.
    pub header_read_timeout_s: f64,
    /// Time for a request body.
    pub body_read_timeout_s: f64,
    /// Live bytes that may wait for one viewer; more makes it too slow.
    pub subscriber_buffer_bytes: usize,
    /// How long a viewer that was too slow may take to read what was left for it.
    pub slow_close_s: f64,
    /// Server-sent events: time between two comments.
    pub sse_comment_interval_s: f64,
    /// What a client is told to wait when it is refused because the house is full.
    pub retry_after_s: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            inherited: Vec::new(),
            reuse_port: false,
            threads: 1,
            methods: Vec::new(),
            descriptor_set: None,
            body_bytes_max: 4 << 20,
            blob_bytes_max: 64 << 20,
            header_bytes_max: 32 << 10,
            queue_requests_max: 16_384,
            queue_bytes_max: 256 << 20,
            calls_max: 100_000,
            connections_max: 20_000,
            concurrent_streams_max: 4_096,
            keepalive_s: 20.0,
            header_read_timeout_s: 30.0,
            body_read_timeout_s: 30.0,
            subscriber_buffer_bytes: 256 << 10,
            slow_close_s: 10.0,
            sse_comment_interval_s: 15.0,
            retry_after_s: 1.0,
        }
    }
}
