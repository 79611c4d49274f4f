//! gRPC over HTTP/2: frames, timeouts, statuses, and the three shapes of a call.
//! Source: grpc/doc/PROTOCOL-HTTP2.md. Messages are not compressed: a compressed one is UNIMPLEMENTED, and
//! `grpc-accept-encoding: identity` says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use crate::body::{Body, StreamBody};
use crate::calls::{Answer, Expects};
use crate::details::{GrpcStatus, code};
use crate::house::House;
use crate::inbox::{Full, Hold};
use crate::options::MethodKind;
use crate::outgoing::Outgoing;
use crate::request::{Metadata, Request};
use crate::stats::Counters;

const PREFIX_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS_OK: HeaderValue = HeaderValue::from_static("0");

/// True for `application/grpc` and its variants with a codec or parameters, not for grpc-web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
}

/// A message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    // Both directions are bounded far below 4 GiB; a caller that goes over it gets a broken stream, not a panic.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The trailers that end a call.
pub(crate) fn trailers(status: &GrpcStatus) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    put_status(&mut trailers, status);
    trailers
}

/// An answer that has only a status.
pub(crate) fn refused(status: &GrpcStatus) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    put_status(response.headers_mut(), status);
    if status.code == code::UNIMPLEMENTED {
        let name = HeaderName::from_static("grpc-accept-encoding");
        response.headers_mut().insert(name, HeaderValue::from_static("identity"));
    }
    response
}

fn put_status(headers: &mut HeaderMap, status: &GrpcStatus) {
    headers.insert(GRPC_STATUS, if status.code == 0 { STATUS_OK } else { HeaderValue::from(status.code) });
    if !status.message.is_empty()
        && let Ok(message) = HeaderValue::try_from(percent_encode(&status.message))
    {
        headers.insert(GRPC_MESSAGE, message);
    }
    if !status.details.is_empty()
        && let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(&status.details))
    {
        headers.insert(GRPC_DETAILS, details);
    }
}

fn percent_encode(text: &str) -> String {
    // HPACK tables of clients are small and proxies cut long headers; a message is for a person.
    const BYTES_MAX: usize = 2_048;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if out.len() >= BYTES_MAX {
            break;
        }
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3_600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Takes framed messages from a request body, holding its bytes against the queue.
struct Messages<'a> {
    body: Incoming,
    buffer: BytesMut,
    // The common case: one data frame that holds whole messages is cut, not copied.
    chunk: Bytes,
    hold: Hold<'a>,
    bytes_max: usize,
    // A stream in the middle waits for room instead.
    may_refuse: bool,
}

impl<'a> Messages<'a> {
    fn new(house: &'a House, body: Incoming, may_refuse: bool) -> Self {
        let bytes_max = house.limits.body_bytes_max;
        Self { body, buffer: BytesMut::new(), chunk: Bytes::new(), hold: house.inbox.hold(), bytes_max, may_refuse }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self, house: &House) -> Result<Option<Bytes>, GrpcStatus> {
        loop {
            if let Some(message) = self.cut()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() && self.chunk.is_empty() => return Ok(None),
                None => return Err(broken("the request ended inside a message")),
                Some(Err(_)) => return Err(GrpcStatus::gone()),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if self.hold.add(data.len()).is_err() && self.may_refuse {
                        return Err(full(house));
                    }
                    if self.chunk.is_empty() && self.buffer.is_empty() {
                        self.chunk = data;
                    } else {
                        if !self.chunk.is_empty() {
                            self.buffer.extend_from_slice(&std::mem::take(&mut self.chunk));
                        }
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn cut(&mut self) -> Result<Option<Bytes>, GrpcStatus> {
        let bytes: &[u8] = if self.chunk.is_empty() { &self.buffer } else { &self.chunk };
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [flag, a, b, c, d] = *prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        match flag {
            0 => {}
            1 => {
                let message = "compressed messages are not accepted; send them with identity encoding".to_owned();
                return Err(GrpcStatus::refusal(code::UNIMPLEMENTED, "COMPRESSION_UNSUPPORTED", message, None));
            }
            _ => return Err(broken("the first byte of a message is neither 0 nor 1")),
        }
        if length > self.bytes_max {
            let message = format!("the message has {length} bytes; at most {} are accepted", self.bytes_max);
            return Err(GrpcStatus::refusal(code::RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", message, None));
        }
        if rest.len() < length {
            // What is there is moved once, into room for the whole.
            if !self.chunk.is_empty() {
                let chunk = std::mem::take(&mut self.chunk);
                self.buffer.reserve((PREFIX_BYTES + length).min(self.bytes_max + PREFIX_BYTES));
                self.buffer.extend_from_slice(&chunk);
            }
            return Ok(None);
        }
        Ok(Some(if self.chunk.is_empty() {
            self.buffer.advance(PREFIX_BYTES);
            self.buffer.split_to(length).freeze()
        } else {
            self.chunk.advance(PREFIX_BYTES);
            self.chunk.split_to(length)
        }))
    }
}

fn broken(sentence: &str) -> GrpcStatus {
    GrpcStatus::refusal(code::INTERNAL, "BAD_FRAME", sentence.to_owned(), None)
}

fn full(house: &House) -> GrpcStatus {
    Counters::add(&house.counters.refused, 1);
    let message = "the server has all the work that it can hold; try again later".to_owned();
    GrpcStatus::refusal(code::RESOURCE_EXHAUSTED, "FULL", message, Some(house.limits.retry_after_s))
}

fn late() -> GrpcStatus {
    let message = "the deadline of the call passed".to_owned();
    GrpcStatus::refusal(code::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message, None)
}

/// A method that nobody serves.
pub(crate) fn unknown_method(path: &str) -> Response<Body> {
    let message = format!("there is no method {path}");
    refused(&GrpcStatus::refusal(code::UNIMPLEMENTED, "UNKNOWN_METHOD", message, None))
}

/// Serves one call from its head to the head of its answer.
pub(crate) async fn serve(
    house: Arc<House>,
    method: u16,
    kind: MethodKind,
    request: http::Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let metadata = match read_metadata(&head.headers) {
        Ok(metadata) => metadata,
        Err(status) => return refused(&status),
    };
    let deadline = metadata.timeout_s.map(|timeout_s| Instant::now() + Duration::from_secs_f64(timeout_s));
    let answer = if kind == MethodKind::Bidi {
        open_both_ways(house, method, metadata, body, peer, deadline)
    } else {
        call(house, method, kind, metadata, body, peer, deadline).await
    };
    answer.unwrap_or_else(|status| refused(&status))
}

async fn call(
    house: Arc<House>,
    method: u16,
    kind: MethodKind,
    metadata: Metadata,
    body: Incoming,
    peer: SocketAddr,
    deadline: Option<Instant>,
) -> Result<Response<Body>, GrpcStatus> {
    if house.inbox.is_full() {
        return Err(full(&house));
    }
    let mut messages = Messages::new(&house, body, true);
    let read_until = Instant::now() + house.limits.body_read_timeout;
    let read = timeout_at(deadline.map_or(read_until, |d| d.min(read_until)), async {
        let message = messages.next(&house).await?.ok_or_else(|| broken("the request holds no message"))?;
        // The end must be seen; it usually came with the message.
        if !(messages.body.is_end_stream() && messages.chunk.is_empty() && messages.buffer.is_empty())
            && messages.next(&house).await?.is_some()
        {
            return Err(broken("the request holds more than one message"));
        }
        Ok(message)
    });
    let message = read.await.map_err(|_| late())??;
    let expects = if kind == MethodKind::Unary { Expects::Message } else { Expects::GrpcStream };
    let (guard, answer) = house.open(expects).ok_or_else(|| full(&house))?;
    let request = Request::Grpc { token: guard.token, method, metadata, message, peer };
    if let Err(Full) = house.inbox.push(request, messages.hold) {
        house.calls.take(guard.token);
        guard.answered();
        return Err(full(&house));
    }
    let answer = match deadline {
        None => answer.await,
        Some(deadline) => timeout_at(deadline, answer).await.map_err(|_| late())?,
    };
    match answer {
        Ok(Answer::Message(message)) if kind == MethodKind::Unary => {
            guard.answered();
            let mut response =
                Response::new(Body::Message { data: frame(&message), trailers: Some(trailers(&GrpcStatus::ok())) });
            response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
            Ok(response)
        }
        Ok(Answer::Stream { outgoing, .. }) => {
            let body = Body::Stream(Box::new(StreamBody::new(outgoing, guard, deadline, None)));
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
            Ok(response)
        }
        Ok(Answer::Status(status)) => {
            guard.answered();
            Err(status)
        }
        Ok(Answer::Message(_) | Answer::Http { .. }) => {
            guard.answered();
            Err(GrpcStatus::misfit())
        }
        Err(_) => Err(GrpcStatus::stopping()),
    }
}

fn open_both_ways(
    house: Arc<House>,
    method: u16,
    metadata: Metadata,
    body: Incoming,
    peer: SocketAddr,
    deadline: Option<Instant>,
) -> Result<Response<Body>, GrpcStatus> {
    let (guard, outgoing) = house.open_stream().ok_or_else(|| full(&house))?;
    let token = guard.token;
    let request = Request::GrpcOpen { token, method, metadata, peer };
    if let Err(Full) = house.inbox.push(request, house.inbox.hold()) {
        house.calls.take(token);
        guard.answered();
        return Err(full(&house));
    }
    let reader = tokio::spawn(read_messages(house, body, Arc::clone(&outgoing)));
    let mut response = Response::new(Body::Stream(Box::new(StreamBody::new(outgoing, guard, deadline, Some(reader)))));
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    Ok(response)
}

/// Passes the messages of a bidirectional call on. Stops reading while the queue is full, while the client does not read
/// its answers, or while the caller holds it back, so that HTTP/2 flow control slows the client.
async fn read_messages(house: Arc<House>, body: Incoming, outgoing: Arc<Outgoing>) {
    let token = outgoing.token;
    let mut stopping = house.stopping.subscribe();
    let mut messages = Messages::new(&house, body, false);
    loop {
        let next = async {
            house.inbox.room().await;
            while outgoing.is_over(house.limits.subscriber_buffer_bytes) {
                outgoing.shrunk.notified().await;
            }
            while outgoing.is_held() {
                outgoing.released.notified().await;
            }
            messages.next(&house).await
        };
        let next = tokio::select! {
            biased;
            next = next => next,
            _ = stopping.wait_for(|stopping| *stopping) => Ok(None),
        };
        match next {
            Ok(Some(message)) => {
                messages.hold.shrink(PREFIX_BYTES + message.len());
                house.inbox.push_message(Request::GrpcMessage { token, message });
            }
            Ok(None) => {
                house.inbox.push_control(Request::GrpcHalfClosed { token });
                return;
            }
            Err(status) => {
                house.abandon(token, &status);
                return;
            }
        }
    }
}

fn read_metadata(headers: &HeaderMap) -> Result<Metadata, GrpcStatus> {
    let mut metadata = Metadata::default();
    if let Some(value) = headers.get("grpc-timeout") {
        let timeout = parse_timeout(value).ok_or_else(|| {
            let message = "grpc-timeout is not digits and a unit".to_owned();
            GrpcStatus::refusal(code::INVALID_ARGUMENT, "BAD_TIMEOUT", message, None)
        })?;
        // Beyond a year it is no deadline, and adding it to now could overflow.
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        if timeout < YEAR {
            metadata.timeout_s = Some(timeout.as_secs_f64());
        }
    }
    for name in Metadata::NAMES {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            metadata.entries.push((name, value.to_owned()));
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let parse = |text| parse_timeout(&HeaderValue::from_static(text));
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "m", "1", "+1S", "123456789S", "1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("50% of ä\n"), "50%25 of %C3%A4%0A");
    }

    #[test]
    fn grpc_web_is_not_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }
}
