//! One connection: which HTTP it speaks, and its life until it is closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::body::Body;
use crate::house::{Connected, House};
use crate::{grpc, http_call};

/// HTTP/2 windows. h2 closes a connection whose unread small frames cost it more than half of the connection's window
/// (256 bytes each); with this window the small messages of one stream that is held back cannot.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const PREFACE: &[u8; 4] = b"PRI ";

pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, house: Arc<House>, _connected: Connected) {
    let mut stopping = house.stopping.subscribe();
    let speaks_http2 = tokio::select! {
        speaks = timeout(house.limits.header_read_timeout, speaks_http2(&stream)) => speaks,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    match speaks_http2 {
        Ok(Ok(true)) => serve_http2(stream, peer, house).await,
        Ok(Ok(false)) => serve_http1(stream, peer, house).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// No method of HTTP/1 that we serve begins like the preface of HTTP/2 (RFC 9113, section 3.4).
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0_u8; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        // A part of it is there, so the socket stays readable; look again a little later.
        sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http2(stream: TcpStream, peer: SocketAddr, house: Arc<House>) {
    let limits = &house.limits;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.concurrent_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive);
    let service = service_fn(|request| dispatch(Arc::clone(&house), request, peer, None));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = house.stopping.subscribe();
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    // Its errors are the client's: a broken frame, a reset. There is nobody to tell.
    let _ = connection.await;
}

async fn serve_http1(stream: TcpStream, peer: SocketAddr, house: Arc<House>) {
    let limits = &house.limits;
    let kill = Arc::new(Notify::new());
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        // The least that hyper takes is 8 KiB. It bounds what waits to be written too, which `pipeline_flush` would lift.
        .max_buf_size(limits.header_bytes_max.max(8 << 10));
    let service = service_fn(|request| dispatch(Arc::clone(&house), request, peer, Some(Arc::clone(&kill))));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = house.stopping.subscribe();
    tokio::select! {
        _ = connection.as_mut() => return,
        () = kill.notified() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = kill.notified() => {}
    }
}

async fn dispatch(
    house: Arc<House>,
    request: http::Request<Incoming>,
    peer: SocketAddr,
    kill: Option<Arc<Notify>>,
) -> Result<Response<Body>, Infallible> {
    let is_grpc =
        request.version() == Version::HTTP_2 && request.method() == Method::POST && grpc::is_grpc(request.headers());
    if !is_grpc {
        return Ok(http_call::serve(house, request, peer, kill).await);
    }
    let path = request.uri().path();
    if let Some(&(method, kind)) = house.methods.get(path) {
        return Ok(grpc::serve(house, method, kind, request, peer).await);
    }
    match house.reflection.at(path) {
        Some(reflection) => {
            let answer = reflection(request);
            Ok(answer.await)
        }
        None => Ok(grpc::unknown_method(path)),
    }
}
