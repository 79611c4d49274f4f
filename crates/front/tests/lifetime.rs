//! Opening and closing: ports, graceful stop, options.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use apex_front::{Follow, Front, FrontError, Options, Reply, Request};
use bytes::Bytes;
use support::{BIDI, Desk, Raw, UNARY, Wire, block_on, client, frame, options, path, sse_headers};
use tokio_stream::StreamExt;

#[test]
fn a_port_that_is_taken_is_named() {
    let first = Desk::open(options());
    let again = |reuse_port| Front::start(Options { listen: vec![first.addr()], reuse_port, ..options() });
    let error = again(false).err().unwrap();
    assert!(matches!(&error, FrontError::PortInUse(addr) if *addr == first.addr()), "{error}");
    // Sharing needs the consent of both.
    assert!(matches!(again(true), Err(FrontError::PortInUse(_))));
    let sharing = Front::start(Options { reuse_port: true, ..options() }).unwrap();
    let listen = vec![sharing.local_addrs()[0]];
    assert!(Front::start(Options { listen: listen.clone(), reuse_port: true, ..options() }).is_ok());
    assert!(matches!(Front::start(Options { listen, ..options() }), Err(FrontError::PortInUse(_))));
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let listen = vec!["192.0.2.1:0".parse().unwrap()];
    assert!(matches!(Front::start(Options { listen, ..options() }), Err(FrontError::Bind(..))));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for bad in [
        Options { listen: Vec::new(), ..options() },
        Options { threads: 0, ..options() },
        Options { keepalive_s: f64::NAN, ..options() },
        Options { retry_after_s: -1.0, ..options() },
    ] {
        assert!(matches!(Front::start(bad), Err(FrontError::Options(_))));
    }
}

#[test]
fn a_socket_that_was_opened_by_another_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let echo = support::Echo::open(Options { listen: Vec::new(), inherited: vec![listener.into()], ..options() });
    assert_eq!(echo.addr(), addr);
    let mut wire = Wire::connect(addr);
    wire.post("/", b"x");
    assert_eq!(wire.answer().body, b"x");
}

#[test]
fn ipv6_is_served() {
    let echo = support::Echo::open(Options { listen: vec!["[::1]:0".parse().unwrap()], ..options() });
    let mut wire = Wire::connect(echo.addr());
    wire.post("/", b"six");
    assert_eq!(wire.answer().body, b"six");
}

#[test]
fn a_graceful_stop_answers_what_was_accepted() {
    // An address of its own: nobody else is given the port when it is free again.
    let mut desk = Desk::open(Options { listen: vec!["127.0.0.2:0".parse().unwrap()], ..options() });
    let addr = desk.addr();
    let calling = std::thread::spawn(move || {
        block_on(async move {
            let mut client = client(addr).await;
            client.unary(tonic::Request::new(Bytes::from_static(b"g")), path(UNARY), Raw).await.unwrap().into_inner()
        })
    });
    let grpc = desk.token();
    let mut wire = Wire::connect(addr);
    wire.get("/h");
    let http = desk.token();
    let mut idle = Wire::connect(addr);

    let stopping = std::thread::spawn({
        let front = desk.front.clone();
        move || front.shutdown(support::PATIENCE)
    });
    assert!(idle.is_closed());
    support::eventually("refusing connections", || std::net::TcpStream::connect(addr).is_err());
    desk.reply(Reply::Grpc { token: grpc, message: Bytes::from_static(b"answered") });
    desk.reply(Reply::Http { token: http, status: 200, headers: Vec::new(), body: Bytes::from_static(b"too") });
    assert_eq!(calling.join().unwrap(), "answered");
    assert_eq!(wire.answer().body, b"too");
    assert!(wire.is_closed());
    assert!(stopping.join().unwrap(), "nothing was cut off");
    // The port is free again at once.
    drop(Front::start(Options { listen: vec![addr], ..options() }).unwrap());
}

#[test]
fn a_stop_ends_live_streams_with_their_offset() {
    let mut desk = Desk::open(options());
    let mut wire = Wire::connect(desk.addr());
    wire.get("/events");
    let token = desk.token();
    desk.reply(Reply::StreamOpen {
        token,
        headers: sse_headers(),
        backlog: vec![frame(7, "id: 7\ndata: {}\n\n")],
        follow: Some(Follow { topic: 1, next_offset: 8 }),
        tell_when_drained: false,
    });
    wire.head();
    assert_eq!(wire.chunk().unwrap(), b"id: 7\ndata: {}\n\n");
    assert!(desk.front.shutdown(support::PATIENCE));
    let last = String::from_utf8(wire.chunk().unwrap()).unwrap();
    assert!(last.starts_with("event: error\n") && last.ends_with("\"last_offset\":7}\n\n"), "{last}");
    assert_eq!(desk.next(), Request::Cancelled { token });
}

#[test]
fn a_stop_lets_a_bidirectional_call_finish_what_was_accepted() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let talking = std::thread::spawn(move || {
        block_on(async move {
            let mut client = client(addr).await;
            // Never ends by itself.
            let messages = tokio_stream::once(Bytes::from_static(b"accepted")).chain(tokio_stream::pending());
            let answers = client.streaming(tonic::Request::new(messages), path(BIDI), Raw).await.unwrap().into_inner();
            answers.map(Result::unwrap).collect::<Vec<_>>().await
        })
    });
    let Request::GrpcOpen { token, .. } = desk.next() else { panic!() };
    let Request::GrpcMessage { .. } = desk.next() else { panic!() };
    desk.front.stop_accepting();
    assert_eq!(desk.next(), Request::GrpcHalfClosed { token });
    let frames = vec![apex_front::Frame { offset: None, data: Bytes::from_static(b"done") }];
    desk.reply(Reply::StreamSend { token, frames, follow: None, tell_when_drained: false });
    desk.reply(Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() });
    assert_eq!(talking.join().unwrap(), ["done"]);
    assert!(desk.front.shutdown(support::PATIENCE));
}

#[test]
fn a_stop_does_not_wait_longer_than_its_grace() {
    let mut desk = Desk::open(options());
    let mut wire = Wire::connect(desk.addr());
    wire.get("/never");
    let token = desk.token();
    assert!(!desk.front.shutdown(Duration::from_millis(100)));
    assert!(wire.is_closed());
    assert_eq!(desk.next(), Request::Cancelled { token });
    // Once more is no error.
    assert!(desk.front.shutdown(support::PATIENCE));
}
