//! What the caller answers.

use bytes::Bytes;

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Offset of the event in it. A viewer that is too slow is told the last one it was given.
    pub offset: Option<u64>,
    /// gRPC: one serialized message, without prefix. HTTP: the bytes as they go out.
    pub data: Bytes,
}

/// Which live feed a stream goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The topic; for a run, its id.
    pub topic: u128,
    /// First offset wanted from the topic; publications below it are skipped.
    pub next_offset: u64,
}

/// One event for all viewers of a topic, in both encodings. An empty one is not sent: give it when
/// [`crate::Front::subscribers`] says that nobody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The topic.
    pub topic: u128,
    /// Grows within the topic.
    pub offset: u64,
    /// The serialized message for gRPC viewers, without prefix.
    pub grpc: Bytes,
    /// The frame for SSE viewers, with its `id:`, `event:` and `data:` lines and the empty line.
    pub sse: Bytes,
}

/// An answer, or a part of one. Replies to tokens that are no longer open are ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The message of a unary call.
    Grpc {
        /// The call.
        token: u64,
        /// Serialized, without prefix.
        message: Bytes,
    },
    /// The failure of any gRPC call.
    GrpcError {
        /// The call.
        token: u64,
        /// Canonical status code, 1 to 16.
        code: i32,
        /// For a person.
        message: String,
        /// A serialized `google.rpc.Status`, or empty.
        details: Bytes,
    },
    /// The whole answer to an HTTP request.
    Http {
        /// The call.
        token: u64,
        /// 200 to 599.
        status: u16,
        /// Without `content-length`, which is added.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// Begins the stream of a server-streaming call or of an HTTP request. A backlog may be larger than a viewer's
    /// buffer. With `follow`, what is published after this reply comes after the backlog: neither gap nor double,
    /// as long as replies and publications come from one thread.
    StreamOpen {
        /// The call.
        token: u64,
        /// HTTP only; with content type `text/event-stream` it is a server-sent event stream.
        headers: Vec<(String, String)>,
        /// What is there already.
        backlog: Vec<Frame>,
        /// The feed to go on with, if it is reached.
        follow: Option<Follow>,
        /// Ask for one [`crate::Request::StreamDrained`] when less than half a buffer is left.
        tell_when_drained: bool,
    },
    /// More of an open stream: answers of a bidirectional call, or the next page of a backlog.
    StreamSend {
        /// The call.
        token: u64,
        /// In order.
        frames: Vec<Frame>,
        /// As in `StreamOpen`, after these frames.
        follow: Option<Follow>,
        /// As in `StreamOpen`.
        tell_when_drained: bool,
    },
    /// Ends a stream after what was sent.
    StreamEnd {
        /// The call.
        token: u64,
        /// gRPC: canonical status code. SSE: 0, or a last `event: error` frame with it.
        code: i32,
        /// For a person.
        message: String,
        /// gRPC: a serialized `google.rpc.Status`, or empty.
        details: Bytes,
    },
    /// Ends the streams of all that follow a topic, with OK, after what was published.
    TopicEnd {
        /// The topic.
        topic: u128,
    },
}
