//! The rich error of the few refusals that the front door makes by itself.
//! Source: google/rpc/status.proto and error_details.proto; `grpc-status-details-bin` of the gRPC HTTP/2 protocol.

use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

/// Canonical status codes that are used here.
pub(crate) mod code {
    pub(crate) const CANCELLED: i32 = 1;
    pub(crate) const INVALID_ARGUMENT: i32 = 3;
    pub(crate) const DEADLINE_EXCEEDED: i32 = 4;
    pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const UNAVAILABLE: i32 = 14;
}

/// The end of a gRPC call that is not its message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GrpcStatus {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) details: Bytes,
}

impl GrpcStatus {
    /// A refusal with its `ErrorInfo`, and `RetryInfo` where a retry helps.
    pub(crate) fn refusal(code: i32, reason: &str, message: String, retry_after_s: Option<f64>) -> Self {
        Self::with_metadata(code, reason, message, retry_after_s, HashMap::new())
    }

    /// The same for a viewer that could not keep up.
    pub(crate) fn too_slow(last_offset: Option<u64>) -> Self {
        let metadata = last_offset.map(|offset| ("last_offset".to_owned(), offset.to_string())).into_iter().collect();
        let message = "the stream was read too slowly; go on after last_offset".to_owned();
        Self::with_metadata(code::RESOURCE_EXHAUSTED, "SUBSCRIBER_TOO_SLOW", message, Some(0.0), metadata)
    }

    /// The house is being closed.
    pub(crate) fn stopping() -> Self {
        Self::refusal(code::UNAVAILABLE, "STOPPING", "the server is stopping".to_owned(), Some(1.0))
    }

    pub(crate) fn ok() -> Self {
        Self { code: 0, message: String::new(), details: Bytes::new() }
    }

    /// For a call whose client has gone: nobody reads it.
    pub(crate) fn gone() -> Self {
        Self { code: code::CANCELLED, message: String::new(), details: Bytes::new() }
    }

    /// The caller gave an answer of another kind than the call asks for.
    pub(crate) fn misfit() -> Self {
        Self::refusal(code::INTERNAL, "MISFIT", "the answer does not fit the call".to_owned(), None)
    }

    fn with_metadata(
        code: i32,
        reason: &str,
        message: String,
        retry_after_s: Option<f64>,
        metadata: HashMap<String, String>,
    ) -> Self {
        let info = ErrorInfo { reason: reason.to_owned(), domain: "apex".to_owned(), metadata };
        let mut details = vec![any("google.rpc.ErrorInfo", &info)];
        if let Some(delay_s) = retry_after_s {
            let delay = Duration { seconds: delay_s.trunc() as i64, nanos: (delay_s.fract() * 1e9) as i32 };
            details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(delay) }));
        }
        let status = Status { code, message: message.clone(), details };
        Self { code, message, details: status.encode_to_vec().into() }
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
