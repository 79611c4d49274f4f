//! HTTP requests that are not gRPC: the whole body in, one answer or a stream out.
//! Refusals are problem documents (RFC 9457).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::body::{Body, StreamBody};
use crate::calls::{Answer, Expects};
use crate::house::{House, Limits};
use crate::inbox::{Full, Hold};
use crate::outgoing::StreamKind;
use crate::request::Request;
use crate::sse;
use crate::stats::Counters;

/// A client that is still sending a body that was refused is read for this long and this far, because closing at once
/// would reset the connection and lose the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 256 << 20;

/// Where values go that are larger than a body may be.
const BLOBS: &str = "/blobs";

/// Why a request was not passed on.
enum Refusal {
    TooLarge { bytes_max: usize, is_blob: bool },
    TooSlow,
    Broken,
    Full { retry_after_s: f64 },
    Stopping,
    BadAnswer,
}

/// Serves one request from its head to the head of its answer.
pub(crate) async fn serve(
    house: Arc<House>,
    request: http::Request<Incoming>,
    peer: SocketAddr,
    kill: Option<Arc<Notify>>,
) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    match call(&house, head, &mut body, peer, kill).await {
        Ok(response) => response,
        Err(refusal) => {
            if matches!(refusal, Refusal::TooLarge { .. } | Refusal::Full { .. })
                && !hyper::body::Body::is_end_stream(&body)
            {
                tokio::spawn(timeout(LINGER, discard(body)));
            }
            refusal.into_response()
        }
    }
}

async fn call(
    house: &Arc<House>,
    head: http::request::Parts,
    body: &mut Incoming,
    peer: SocketAddr,
    kill: Option<Arc<Notify>>,
) -> Result<Response<Body>, Refusal> {
    if house.inbox.is_full() {
        return Err(refuse_full(house));
    }
    let is_blob = head.method == Method::PUT && head.uri.path() == BLOBS;
    let limits = &house.limits;
    // A larger body has as much more time: the least rate is the same.
    let (bytes_max, time_max) = match is_blob {
        true => (limits.blob_bytes_max, limits.body_read_timeout * whole_bodies(limits)),
        false => (limits.body_bytes_max, limits.body_read_timeout),
    };
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Refusal::TooLarge { bytes_max, is_blob });
    }
    let mut hold = house.inbox.hold();
    let read = timeout(time_max, read_body(house, body, &mut hold, bytes_max));
    let body = read.await.map_err(|_| Refusal::TooSlow)??.ok_or(Refusal::TooLarge { bytes_max, is_blob })?;
    let (guard, answer) = house.open(Expects::Http(kill)).ok_or_else(|| refuse_full(house))?;
    let request = Request::Http {
        token: guard.token,
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: read_headers(&head),
        body,
        peer,
    };
    if let Err(Full) = house.inbox.push(request, hold) {
        house.calls.take(guard.token);
        guard.answered();
        return Err(refuse_full(house));
    }
    match answer.await {
        Ok(Answer::Http { status, headers, body }) => {
            guard.answered();
            let body = if body.is_empty() { Body::Empty } else { Body::Full(body) };
            respond(status, headers, body)
        }
        Ok(Answer::Stream { headers, outgoing }) => {
            let is_sse = outgoing.kind == StreamKind::Sse;
            let has_connection = outgoing.kill.is_some();
            let mut response =
                respond(200, headers, Body::Stream(Box::new(StreamBody::new(outgoing, guard, None, None))))?;
            if is_sse {
                let headers = response.headers_mut();
                headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
                // Proxies of the nginx kind would collect events until a buffer is full.
                headers.entry(HeaderName::from_static("x-accel-buffering")).or_insert(HeaderValue::from_static("no"));
            }
            if has_connection {
                // Nothing comes after a stream: a viewer that does not read can be cut off without harm to another call.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
        Ok(Answer::Message(_) | Answer::Status(_)) => {
            guard.answered();
            Err(Refusal::BadAnswer)
        }
        Err(_) => Err(Refusal::Stopping),
    }
}

/// `None` if it is larger than `bytes_max`.
async fn read_body(
    house: &House,
    body: &mut Incoming,
    hold: &mut Hold<'_>,
    bytes_max: usize,
) -> Result<Option<Bytes>, Refusal> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Ok(None);
        }
        hold.add(data.len()).map_err(|Full| refuse_full(house))?;
        if rest.is_empty() && first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(Some(if rest.is_empty() { first } else { rest.freeze() }))
}

/// How many of the largest bodies the largest blob is.
fn whole_bodies(limits: &Limits) -> u32 {
    limits.blob_bytes_max.div_ceil(limits.body_bytes_max.max(1)).clamp(1, 1_024) as u32
}

async fn discard(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > left {
            return;
        }
        left -= bytes;
    }
}

fn read_headers(head: &http::request::Parts) -> Vec<(String, String)> {
    let mut headers = Vec::with_capacity(head.headers.len() + 1);
    if head.version == Version::HTTP_2
        && !head.headers.contains_key(HOST)
        && let Some(authority) = head.uri.authority()
    {
        headers.push(("host".to_owned(), authority.as_str().to_owned()));
    }
    for (name, value) in &head.headers {
        let value = value.as_bytes().iter().map(|&byte| char::from(byte)).collect();
        headers.push((name.as_str().to_owned(), value));
    }
    headers
}

fn respond(status: u16, headers: Vec<(String, String)>, body: Body) -> Result<Response<Body>, Refusal> {
    let status = StatusCode::from_u16(status).map_err(|_| Refusal::BadAnswer)?;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put_headers(response.headers_mut(), headers)?;
    Ok(response)
}

fn put_headers(map: &mut HeaderMap, headers: Vec<(String, String)>) -> Result<(), Refusal> {
    map.reserve(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refusal::BadAnswer)?;
        // The connection's own business.
        if name == CONTENT_LENGTH || name == http::header::TRANSFER_ENCODING {
            continue;
        }
        let value = HeaderValue::try_from(value).map_err(|_| Refusal::BadAnswer)?;
        map.append(name, value);
    }
    Ok(())
}

fn refuse_full(house: &House) -> Refusal {
    Counters::add(&house.counters.refused, 1);
    Refusal::Full { retry_after_s: house.limits.retry_after_s }
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let (status, code, detail) = match &self {
            Self::TooLarge { bytes_max, is_blob } => {
                let rest = if *is_blob { "" } else { " Larger values go to PUT /blobs." };
                let detail = format!("A body may have {bytes_max} bytes here.{rest}");
                (StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail)
            }
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", "The body did not arrive in time.".to_owned())
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "BODY_BROKEN", "The body broke off.".to_owned()),
            Self::Full { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "FULL",
                "The server has all the work that it can hold. Try again later.".to_owned(),
            ),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "STOPPING", "The server is stopping.".to_owned()),
            Self::BadAnswer => {
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "The answer could not be written as HTTP.".to_owned())
            }
        };
        let mut problem = String::from("{\"type\":\"about:blank\",\"title\":\"");
        sse::escape(status.canonical_reason().unwrap_or_default(), &mut problem);
        problem.push_str(&format!("\",\"status\":{},\"code\":\"{code}\",\"detail\":\"", status.as_u16()));
        sse::escape(&detail, &mut problem);
        problem.push_str("\"}");
        let mut response = Response::new(Body::Full(problem.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Full { retry_after_s } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s.ceil() as u64));
            }
            Self::TooSlow | Self::Broken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
