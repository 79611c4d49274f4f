//! HTTP/1.1 and HTTP/2 without TLS: bodies, limits, bad bytes.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use apex_front::{Options, Reply, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use support::{Desk, Echo, Wire, block_on, options};

#[test]
fn a_request_arrives_whole_and_its_answer_leaves_whole() {
    let mut desk = Desk::open(options());
    let mut wire = Wire::connect(desk.addr());
    wire.send(b"PUT /a%20b/c?x=1&y=%26 HTTP/1.1\r\nHost: me\r\nX-Odd: \xe9\r\ncontent-length: 3\r\n\r\nabc");
    let Request::Http { token, method, path, query, headers, body, peer } = desk.next() else { panic!() };
    assert_eq!((&method[..], &path[..], &query[..], &body[..]), ("PUT", "/a%20b/c", "x=1&y=%26", &b"abc"[..]));
    assert!(headers.contains(&("host".to_owned(), "me".to_owned())));
    assert!(headers.contains(&("x-odd".to_owned(), "é".to_owned())));
    assert_eq!(peer, wire.stream.local_addr().unwrap());
    desk.reply(Reply::Http {
        token,
        status: 202,
        headers: vec![("location".to_owned(), "/runs/1".to_owned()), ("content-length".to_owned(), "999".to_owned())],
        body: Bytes::from_static(b"{}"),
    });
    let answer = wire.answer();
    assert_eq!((answer.status, &answer.body[..]), (202, &b"{}"[..]));
    assert!(answer.head.contains("location: /runs/1"));
    // The connection is kept.
    wire.get("/next");
    let token = desk.token();
    desk.reply(Reply::Http { token, status: 204, headers: Vec::new(), body: Bytes::new() });
    assert_eq!(wire.answer().status, 204);
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let echo = Echo::open(options());
    let mut wire = Wire::connect(echo.addr());
    for n in 0..50 {
        wire.post("/", format!("body {n}").as_bytes());
    }
    for n in 0..50 {
        assert_eq!(wire.answer().body, format!("body {n}").as_bytes());
    }
}

#[test]
fn http2_without_tls_is_served_on_the_same_port() {
    let echo = Echo::open(options());
    block_on(async {
        let stream = tokio::net::TcpStream::connect(echo.addr()).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{}/x", echo.addr()));
        let body = Bytes::from(vec![5_u8; 3 << 20]);
        let response = sender.send_request(request.body(Full::new(body.clone())).unwrap()).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    });
    let mut wire = Wire::connect(echo.addr());
    wire.post("/", b"and HTTP/1.1");
    assert_eq!(wire.answer().body, b"and HTTP/1.1");
}

#[test]
fn the_authority_of_http2_comes_as_host() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let calling = std::thread::spawn(move || {
        block_on(async move {
            let io = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(addr).await.unwrap());
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("http://example.test/x").body(Full::new(Bytes::new())).unwrap();
            sender.send_request(request).await.unwrap().status()
        })
    });
    let Request::Http { token, headers, .. } = desk.next() else { panic!() };
    assert!(headers.contains(&("host".to_owned(), "example.test".to_owned())), "{headers:?}");
    desk.reply(Reply::Http { token, status: 200, headers: Vec::new(), body: Bytes::new() });
    assert_eq!(calling.join().unwrap(), 200);
}

#[test]
fn a_body_of_64_mib_is_refused_and_the_client_can_read_why() {
    let echo = Echo::open(options());
    let declared = std::thread::spawn({
        let addr = echo.addr();
        move || {
            let mut wire = Wire::connect(addr);
            wire.post("/", &vec![0_u8; 64 << 20]);
            wire.answer()
        }
    });
    let answer = declared.join().unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.head.contains("application/problem+json"));
    assert!(String::from_utf8(answer.body).unwrap().contains("\"code\":\"BODY_TOO_LARGE\""));

    let mut wire = Wire::connect(echo.addr());
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".to_vec(), vec![0_u8; 65_536], b"\r\n".to_vec()].concat();
    for _ in 0..1_024 {
        wire.send(&chunk);
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.answer().status, 413);

    let mut wire = Wire::connect(echo.addr());
    wire.post("/", b"small");
    assert_eq!(wire.answer().status, 200);
    support::eventually("no byte held", || echo.front.stats().queued_bytes == 0);
}

#[test]
fn a_full_queue_is_503_with_retry_after() {
    let mut desk = Desk::open(Options { queue_requests_max: 1, retry_after_s: 1.5, ..options() });
    let mut first = Wire::connect(desk.addr());
    first.get("/first");
    support::eventually("one queued", || desk.front.stats().queued == 1);
    let mut second = Wire::connect(desk.addr());
    second.post("/second", b"body");
    let answer = second.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 2"));
    let token = desk.token();
    desk.reply(Reply::Http { token, status: 200, headers: Vec::new(), body: Bytes::new() });
    assert_eq!(first.answer().status, 200);
}

#[test]
fn bytes_of_bodies_are_bounded_while_they_are_read() {
    let desk = Desk::open(Options { queue_bytes_max: 1 << 20, ..options() });
    let mut holding = Wire::connect(desk.addr());
    holding.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n");
    holding.send(vec![0_u8; 1 << 20]);
    support::eventually("a megabyte held", || desk.front.stats().queued_bytes >= 1 << 20);
    let mut other = Wire::connect(desk.addr());
    other.post("/", b"x");
    assert_eq!(other.answer().status, 503);
    drop(holding);
    support::eventually("given back", || desk.front.stats().queued_bytes == 0);
    // One body alone may be larger than the bound.
    let mut alone = Wire::connect(desk.addr());
    alone.post("/", &vec![0_u8; 2 << 20]);
    support::eventually("taken", || desk.front.stats().queued == 1);
}

#[test]
fn a_client_that_goes_away_before_its_answer_cancels_upward() {
    let mut desk = Desk::open(options());
    let mut wire = Wire::connect(desk.addr());
    wire.get("/slow");
    let token = desk.token();
    drop(wire);
    assert_eq!(desk.next(), Request::Cancelled { token });
    desk.reply(Reply::Http { token, status: 200, headers: Vec::new(), body: Bytes::new() });
    assert_eq!(desk.front.stats().calls_open, 0);
}

#[test]
fn bad_bytes_end_their_own_connection_and_no_other() {
    let echo = Echo::open(Options { header_bytes_max: 8 << 10, ..options() });
    let mut kept = Wire::connect(echo.addr());
    kept.post("/", b"before");
    assert_eq!(kept.answer().body, b"before");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let garbage: Vec<Vec<u8>> = vec![
        vec![0; 4_096],
        (0..=255).collect(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec(),
        b"PRIx nonsense".to_vec(),
        preface.clone(),
        [preface.clone(), vec![255; 100]].concat(),
        [preface, b"\x00\xff\xff\x04\x00\x00\x00\x00\x00".to_vec()].concat(),
        [b"GET /".to_vec(), vec![b'a'; 70_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 70_000], b"\r\n\r\n".to_vec()].concat(),
    ];
    for bytes in garbage {
        let mut wire = Wire::connect(echo.addr());
        // It may be closed on us while we are sending.
        let _ = std::io::Write::write_all(&mut wire.stream, &bytes);
        let _ = wire.stream.shutdown(std::net::Shutdown::Write);
        assert!(wire.is_closed());
        kept.post("/", b"still here");
        assert_eq!(kept.answer().body, b"still here");
    }
    support::eventually("one connection left", || echo.front.stats().connections_open == 1);
    assert_eq!(echo.front.stats().calls_open, 0);
}

#[test]
fn silent_and_slow_heads_are_closed() {
    let echo = Echo::open(Options { header_read_timeout_s: 0.2, ..options() });
    for sent in ["", "PR", "GET / HT", "GET / HTTP/1.1\r\nhost"] {
        let mut wire = Wire::connect(echo.addr());
        wire.send(sent);
        assert!(wire.is_closed(), "{sent}");
    }
}

#[test]
fn a_slow_body_is_408() {
    let echo = Echo::open(Options { body_read_timeout_s: 0.2, ..options() });
    let mut wire = Wire::connect(echo.addr());
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    assert_eq!(wire.answer().status, 408);
    assert!(wire.is_closed());
}

#[test]
fn an_answer_that_is_no_http_is_500_and_harms_nobody() {
    let mut desk = Desk::open(options());
    for (status, name, value) in [(99, "a", "b"), (200, "a b", "c"), (200, "a", "b\r\nset-cookie: c")] {
        let mut wire = Wire::connect(desk.addr());
        wire.get("/");
        let token = desk.token();
        let headers = vec![(name.to_owned(), value.to_owned())];
        desk.reply(Reply::Http { token, status, headers, body: Bytes::new() });
        let answer = wire.answer();
        assert_eq!(answer.status, 500);
        assert!(!answer.head.contains("set-cookie"));
    }
    let mut wire = Wire::connect(desk.addr());
    wire.get("/");
    let token = desk.token();
    desk.reply(Reply::Grpc { token, message: Bytes::new() });
    assert_eq!(wire.answer().status, 500);
}

#[test]
fn connections_over_the_bound_are_closed_and_places_are_given_back() {
    let echo = Echo::open(Options { connections_max: 1, ..options() });
    let mut first = Wire::connect(echo.addr());
    first.post("/", b"a");
    assert_eq!(first.answer().status, 200);
    let mut second = Wire::connect(echo.addr());
    assert!(second.is_closed());
    drop(first);
    support::eventually("no connection", || echo.front.stats().connections_open == 0);
    let mut third = Wire::connect(echo.addr());
    third.post("/", b"c");
    assert_eq!(third.answer().status, 200);
}

#[test]
fn a_stream_that_is_no_event_stream_carries_bytes() {
    let mut desk = Desk::open(options());
    let mut wire = Wire::connect(desk.addr());
    wire.get("/blobs/x");
    let token = desk.token();
    let headers = vec![("content-type".to_owned(), "application/octet-stream".to_owned())];
    let blob = vec![9_u8; 1 << 20];
    let backlog = blob.chunks(100_000).map(|c| apex_front::Frame { offset: None, data: Bytes::copy_from_slice(c) });
    let backlog = backlog.collect();
    desk.reply(Reply::StreamOpen { token, headers, backlog, follow: None, tell_when_drained: false });
    desk.reply(Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() });
    assert!(wire.answer().body == blob);
    assert!(desk.try_next(Duration::from_millis(50)).is_none());
}
