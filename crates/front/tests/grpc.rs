//! gRPC as tonic's client sees it: the three shapes, refusals, deadlines, cancels, reflection.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use apex_front::{Frame, Options, Reply, Request};
use bytes::Bytes;
use prost::Message;
use support::{BIDI, Client, Desk, Echo, Raw, UNARY, WATCH, block_on, client, frame, options, path, token};
use tokio_stream::StreamExt;
use tonic::{Code, Request as Call};

async fn unary(client: &mut Client, message: impl Into<Bytes>) -> Result<Bytes, tonic::Status> {
    client.ready().await.unwrap();
    client.unary(Call::new(message.into()), path(UNARY), Raw).await.map(tonic::Response::into_inner)
}

/// What `call` gives where its deadline left it the time. A machine may stand still for longer than a deadline that a
/// test likes to wait for, so each try has twice the one before.
fn reached_within_deadline<T>(mut call: impl FnMut(u64) -> Option<T>) -> T {
    let deadlines_ms = (0..11).map(|doublings| 50 << doublings);
    deadlines_ms.into_iter().find_map(&mut call).expect("no deadline was long enough")
}

/// Runs the client beside the desk, which is driven here.
fn beside<T: Send + 'static>(client: impl Future<Output = T> + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || block_on(client))
}

#[test]
fn a_unary_call_passes_its_bytes_and_metadata_both_ways() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let calling = beside(async move {
        let mut client = client(addr).await;
        let mut call = Call::new(Bytes::from_static(b"\x00anything\xff"));
        call.metadata_mut().insert("authorization", "Bearer x".parse().unwrap());
        call.metadata_mut().insert("idempotency-key", "k-1".parse().unwrap());
        call.metadata_mut().insert("unrelated", "y".parse().unwrap());
        call.set_timeout(Duration::from_secs(900));
        client.unary(call, path(UNARY), Raw).await.unwrap().into_inner()
    });
    let Request::Grpc { token, method, metadata, message, peer } = desk.next() else { panic!() };
    assert_eq!((method, &message[..]), (0, &b"\x00anything\xff"[..]));
    assert!(peer.ip().is_loopback());
    let mut entries = metadata.entries;
    entries.sort_unstable();
    assert_eq!(entries, [("authorization", "Bearer x".to_owned()), ("idempotency-key", "k-1".to_owned())]);
    assert_eq!(metadata.timeout_s, Some(900.0));
    desk.reply(Reply::Grpc { token, message: Bytes::from_static(b"answer") });
    assert_eq!(calling.join().unwrap(), "answer");
}

#[test]
fn empty_messages_and_messages_of_the_largest_size_pass() {
    let echo = Echo::open(options());
    block_on(async {
        let mut client = client(echo.addr()).await.max_decoding_message_size(8 << 20);
        assert_eq!(unary(&mut client, Bytes::new()).await.unwrap(), "");
        let largest = Bytes::from(vec![7_u8; 4 << 20]);
        assert_eq!(unary(&mut client, largest.clone()).await.unwrap(), largest);
        let status = unary(&mut client, vec![7_u8; (4 << 20) + 1]).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(String::from_utf8_lossy(status.details()).contains("MESSAGE_TOO_LARGE"));
        assert_eq!(unary(&mut client, "again").await.unwrap(), "again");
    });
    assert_eq!(echo.front.stats().queued_bytes, 0);
}

#[test]
fn many_calls_at_once_on_one_connection_get_their_own_answers() {
    let echo = Echo::open(options());
    block_on(async {
        let client = client(echo.addr()).await;
        let calls: Vec<_> = (0..1_000_u32)
            .map(|n| {
                let mut client = client.clone();
                tokio::spawn(async move { unary(&mut client, n.to_be_bytes().to_vec()).await.unwrap() })
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), (n as u32).to_be_bytes().to_vec());
        }
    });
    let stats = echo.front.stats();
    assert_eq!((stats.calls_open, stats.queued, stats.queued_bytes, stats.cancelled), (0, 0, 0, 0));
    // The last one may have rung for a request that was already being taken.
    assert!(stats.wakes <= stats.drains + 1, "{stats:?}");
}

#[test]
fn an_error_carries_code_message_and_details() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let calling = beside(async move { unary(&mut client(addr).await, "x").await.unwrap_err() });
    let token = desk.token();
    let (message, details) = ("100 % schön\nkaputt".to_owned(), Bytes::from_static(&[0, 1, 2, 255]));
    desk.reply(Reply::GrpcError { token, code: 9, message: message.clone(), details: details.clone() });
    let status = calling.join().unwrap();
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::FailedPrecondition, &message[..], &details[..])
    );
}

#[test]
fn an_answer_of_the_wrong_kind_is_internal_and_hangs_nobody() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    for wrong in [
        |token| Reply::Http { token, status: 200, headers: Vec::new(), body: Bytes::new() },
        |token| Reply::StreamSend { token, frames: vec![frame(0, "x")], follow: None, tell_when_drained: false },
    ] {
        let calling = beside(async move { unary(&mut client(addr).await, "x").await.unwrap_err() });
        let token = desk.token();
        desk.reply(wrong(token));
        assert_eq!(calling.join().unwrap().code(), Code::Internal);
    }
}

#[test]
fn an_unknown_method_is_unimplemented() {
    let echo = Echo::open(options());
    block_on(async {
        let mut client = client(echo.addr()).await;
        let status = client.unary(Call::new(Bytes::new()), path("/t.T/Nothing"), Raw).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    });
}

#[test]
fn a_server_stream_gives_its_backlog_then_what_is_sent_then_its_end() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let watching = beside(async move {
        let mut client = client(addr).await;
        let stream = client.server_streaming(Call::new(Bytes::from_static(b"w")), path(WATCH), Raw).await.unwrap();
        let mut stream = stream.into_inner();
        let mut seen = Vec::new();
        let status = loop {
            match stream.next().await {
                Some(Ok(message)) => seen.push(message),
                Some(Err(status)) => break Some(status),
                None => break None,
            }
        };
        (seen, status)
    });
    let token = desk.token();
    desk.reply(Reply::StreamOpen {
        token,
        headers: Vec::new(),
        backlog: vec![frame(0, "a"), frame(1, "b")],
        follow: None,
        tell_when_drained: true,
    });
    assert_eq!(desk.next(), Request::StreamDrained { token });
    desk.reply(Reply::StreamSend { token, frames: vec![frame(2, "c")], follow: None, tell_when_drained: false });
    desk.reply(Reply::StreamEnd { token, code: 10, message: "moved".to_owned(), details: Bytes::new() });
    let (seen, status) = watching.join().unwrap();
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(status.unwrap().code(), Code::Aborted);
    assert_eq!(desk.front.stats().calls_open, 0);
}

#[test]
fn a_server_stream_may_be_refused_before_it_begins() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let watching = beside(async move {
        let mut client = client(addr).await;
        client.server_streaming(Call::new(Bytes::new()), path(WATCH), Raw).await.map(|_| ()).unwrap_err()
    });
    let token = desk.token();
    desk.reply(Reply::GrpcError { token, code: 5, message: "no such run".to_owned(), details: Bytes::new() });
    assert_eq!(watching.join().unwrap().code(), Code::NotFound);
}

#[test]
fn both_ways_messages_pass_in_order_until_each_side_ends() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let talking = beside(async move {
        let mut client = client(addr).await;
        let messages = tokio_stream::iter((0..500_u32).map(|n| Bytes::from(n.to_string())));
        let answers = client.streaming(Call::new(messages), path(BIDI), Raw).await.unwrap().into_inner();
        answers.map(Result::unwrap).collect::<Vec<_>>().await
    });
    let Request::GrpcOpen { token, method: 2, .. } = desk.next() else { panic!() };
    let mut expected = 0;
    loop {
        match desk.next() {
            Request::GrpcMessage { token: of, message } => {
                assert_eq!((of, message), (token, Bytes::from(expected.to_string())));
                expected += 1;
            }
            Request::GrpcHalfClosed { token: of } => {
                assert_eq!((of, expected), (token, 500));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // The client sends no more and still receives.
    let frames = (0..500).map(|n: u32| Frame { offset: None, data: Bytes::from(n.to_string()) }).collect();
    desk.reply(Reply::StreamSend { token, frames, follow: None, tell_when_drained: false });
    desk.reply(Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() });
    let answers = talking.join().unwrap();
    assert_eq!(answers, (0..500).map(|n: u32| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn both_ways_a_client_that_does_not_read_is_not_read_from_for_ever() {
    let mut options = options();
    options.subscriber_buffer_bytes = 64 << 10;
    let mut desk = Desk::open(options);
    let addr = desk.addr();
    let done = std::sync::Arc::new(support::Gate::default());
    let gate = done.clone();
    let talking = std::thread::spawn(move || {
        block_on(async move {
            let mut client = client(addr).await;
            let message = Bytes::from(vec![1_u8; 16 << 10]);
            let messages = tokio_stream::iter(vec![message; 3_000]).chain(tokio_stream::pending());
            let answers = client.streaming(Call::new(messages), path(BIDI), Raw).await.unwrap();
            tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            drop(answers);
        });
    });
    let token = desk.token();
    let mut echoed = 0;
    // Each is answered in full; the client reads no answer, so at some point no more is taken from it.
    while let Some(request) = desk.try_next(Duration::from_millis(500)) {
        let Request::GrpcMessage { message, .. } = request else { panic!("{request:?}") };
        echoed += message.len();
        let frames = vec![Frame { offset: None, data: message }];
        desk.reply(Reply::StreamSend { token, frames, follow: None, tell_when_drained: false });
    }
    done.open();
    talking.join().unwrap();
    // What was on its way while this thread looked away counts as well.
    while let Request::GrpcMessage { message, .. } = desk.next() {
        echoed += message.len();
    }
    assert!(echoed < 24 << 20, "{echoed} bytes were taken from a client that does not read");
    assert_eq!(desk.front.stats().cancelled, 1);
}

#[test]
fn both_ways_a_client_that_is_held_back_is_read_from_again_when_it_is_let_go() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let count = 3_000_usize;
    let size = 16 << 10;
    let talking = beside(async move {
        let mut client = client(addr).await;
        let messages = tokio_stream::iter(vec![Bytes::from(vec![1_u8; size]); count]);
        let answers = client.streaming(Call::new(messages), path(BIDI), Raw).await.unwrap().into_inner();
        answers.map(Result::unwrap).collect::<Vec<_>>().await
    });
    let token = desk.token();
    desk.front.hold(token, true);
    let mut taken = 0;
    // Until no more comes; on a machine that stands still for a moment some may come after it.
    while let Some(request) = desk.try_next(Duration::from_millis(500)) {
        assert!(matches!(request, Request::GrpcMessage { .. }), "{request:?}");
        taken += 1;
        assert!(taken < count / 2, "{taken} messages were taken from a client that is held back");
    }
    desk.front.hold(token, false);
    loop {
        match desk.next() {
            Request::GrpcMessage { .. } => taken += 1,
            Request::GrpcHalfClosed { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, count, "none is lost");
    desk.reply(Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() });
    assert!(talking.join().unwrap().is_empty());
    // Of a call that is over: nothing.
    desk.front.hold(token, true);
}

#[test]
fn a_deadline_reaches_the_client_and_cancels_upward() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let token = reached_within_deadline(|timeout_ms| {
        // Not tonic's client: it watches the clock by itself.
        let timeout = format!("{timeout_ms}m");
        let calling = beside(async move { send_body(addr, vec![0; 5], &[("grpc-timeout", &timeout)]).await.0 });
        assert_eq!(calling.join().unwrap().as_deref(), Some("4"));
        Some(token(&desk.try_next(Duration::ZERO)?))
    });
    assert_eq!(desk.next(), Request::Cancelled { token });
    // Too late, and no harm.
    desk.reply(Reply::Grpc { token, message: Bytes::new() });
    assert_eq!(desk.front.stats().cancelled, 1);
}

#[test]
fn a_deadline_ends_a_stream_that_has_begun() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let status = reached_within_deadline(|timeout_ms| {
        let watching = beside(async move {
            let mut client = client(addr).await;
            let mut call = Call::new(Bytes::new());
            call.metadata_mut().insert("grpc-timeout", format!("{timeout_ms}m").parse().unwrap());
            let mut stream = client.server_streaming(call, path(WATCH), Raw).await.ok()?.into_inner();
            assert_eq!(stream.next().await?.ok()?, "a");
            Some(stream.next().await.unwrap().unwrap_err())
        });
        while !watching.is_finished() {
            let Some(Request::Grpc { token, .. }) = desk.try_next(Duration::from_millis(5)) else { continue };
            let backlog = vec![frame(0, "a")];
            desk.reply(Reply::StreamOpen {
                token,
                headers: Vec::new(),
                backlog,
                follow: None,
                tell_when_drained: false,
            });
            assert_eq!(desk.next(), Request::Cancelled { token });
        }
        watching.join().unwrap()
    });
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[test]
fn a_client_that_goes_away_cancels_its_call_and_no_other() {
    let mut desk = Desk::open(options());
    let addr = desk.addr();
    let (both_came, both) = tokio::sync::oneshot::channel();
    let going = beside(async move {
        let mut client = client(addr).await;
        let mut other = client.clone();
        let staying = tokio::spawn(async move { unary(&mut other, "stays").await.unwrap() });
        let leaving = tokio::spawn(async move { unary(&mut client, "leaves").await });
        both.await.unwrap();
        leaving.abort();
        staying.await.unwrap()
    });
    let mut tokens = [0; 2];
    for _ in 0..2 {
        let Request::Grpc { token, message, .. } = desk.next() else { panic!() };
        tokens[usize::from(message == "stays")] = token;
    }
    both_came.send(()).unwrap();
    assert_eq!(desk.next(), Request::Cancelled { token: tokens[0] });
    desk.reply(Reply::Grpc { token: tokens[0], message: Bytes::from_static(b"ignored") });
    desk.reply(Reply::Grpc { token: tokens[1], message: Bytes::from_static(b"kept") });
    assert_eq!(going.join().unwrap(), "kept");
}

#[test]
fn a_full_queue_refuses_with_a_delay_and_recovers() {
    let mut desk = Desk::open(Options { queue_requests_max: 4, ..options() });
    let addr = desk.addr();
    let calling = beside(async move {
        let client = client(addr).await;
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { unary(&mut client, "x").await })
            })
            .collect();
        let mut refused = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => {}
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted);
                    assert!(String::from_utf8_lossy(status.details()).contains("google.rpc.RetryInfo"));
                    refused += 1;
                }
            }
        }
        refused
    });
    support::eventually("six refusals", || desk.front.stats().refused == 6);
    for _ in 0..4 {
        let token = desk.token();
        desk.reply(Reply::Grpc { token, message: Bytes::new() });
    }
    assert_eq!(calling.join().unwrap(), 6);
    let calling = beside(async move { unary(&mut client(addr).await, "room").await.unwrap() });
    let token = desk.token();
    desk.reply(Reply::Grpc { token, message: Bytes::from_static(b"ok") });
    assert_eq!(calling.join().unwrap(), "ok");
}

#[test]
fn too_many_open_calls_are_refused() {
    let mut desk = Desk::open(Options { calls_max: 1, ..options() });
    let addr = desk.addr();
    let calling = beside(async move { unary(&mut client(addr).await, "first").await.unwrap() });
    let token = desk.token();
    let status = block_on(async { unary(&mut client(addr).await, "second").await.unwrap_err() });
    assert_eq!(status.code(), Code::ResourceExhausted);
    desk.reply(Reply::Grpc { token, message: Bytes::new() });
    calling.join().unwrap();
}

#[test]
fn drain_takes_at_most_what_is_asked_and_rings_for_the_rest() {
    let desk = Desk::open(options());
    let addr = desk.addr();
    let calling = beside(async move {
        let client = client(addr).await;
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { unary(&mut client, "x").await.unwrap() })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
    support::eventually("ten queued", || desk.front.stats().queued == 10);
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 10 {
        assert!(support::wait_readable(&desk.front, support::PATIENCE));
        let batch = desk.front.drain(4);
        batches.push(batch.len());
        let answers = batch.iter().map(|r| Reply::Grpc { token: support::token(r), message: Bytes::new() });
        desk.front.reply(answers.collect());
    }
    assert_eq!(batches, [4, 4, 2]);
    calling.join().unwrap();
}

/// Sends bytes of its own making as the body of a unary call.
async fn send_body(
    addr: std::net::SocketAddr,
    body: Vec<u8>,
    headers: &[(&str, &str)],
) -> (Option<String>, http::HeaderMap) {
    use http_body_util::{BodyExt, Full};
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{addr}{UNARY}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let headers = response.headers().clone();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
    let status = headers.get("grpc-status").or(trailers.as_ref().and_then(|t| t.get("grpc-status"))).cloned();
    (status.map(|status| status.to_str().unwrap().to_owned()), headers)
}

#[test]
fn broken_frames_are_refused_and_the_door_goes_on() {
    let echo = Echo::open(options());
    block_on(async {
        for (body, status) in [
            (vec![], "13"),
            (vec![0, 0], "13"),
            (vec![0, 0, 0, 0, 9, 1], "13"),
            (vec![2, 0, 0, 0, 1, 1], "13"),
            (vec![1, 0, 0, 0, 1, 1], "12"),
            (vec![0, 255, 255, 255, 255], "8"),
            (vec![0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1], "13"),
            (vec![0, 0, 0, 0, 1, 1], "0"),
        ] {
            let (got, headers) = send_body(echo.addr(), body.clone(), &[]).await;
            assert_eq!(got.as_deref(), Some(status), "{body:?}");
            assert_eq!(headers.get("grpc-accept-encoding").is_some(), status == "12");
        }
    });
    let stats = echo.front.stats();
    assert_eq!((stats.calls_open, stats.queued_bytes), (0, 0));
}

#[test]
fn a_timeout_that_is_none_is_refused() {
    let echo = Echo::open(options());
    block_on(async {
        for (timeout, status) in [("soon", "3"), ("", "3"), ("-1S", "3"), ("99999999H", "0"), ("10S", "0")] {
            let (got, _) = send_body(echo.addr(), vec![0; 5], &[("grpc-timeout", timeout)]).await;
            assert_eq!(got.as_deref(), Some(status), "{timeout}");
        }
    });
}

#[test]
fn reflection_names_every_service_in_both_versions() {
    #[derive(Clone, PartialEq, Message)]
    struct ListServices {
        #[prost(string, optional, tag = "7")]
        list_services: Option<String>,
    }
    let echo = Echo::open(options());
    block_on(async {
        for method in [
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            let mut client = client(echo.addr()).await;
            let ask = Bytes::from(ListServices { list_services: Some(String::new()) }.encode_to_vec());
            let asked = Call::new(tokio_stream::iter([ask]));
            let mut answers = client.streaming(asked, path(method), Raw).await.unwrap().into_inner();
            let answer = answers.next().await.unwrap().unwrap();
            let answer = String::from_utf8_lossy(&answer);
            for service in ["Run", "Workflow", "Patch", "Approval", "Worker"] {
                assert!(answer.contains(&format!("apex.v1.{service}Service")), "{answer}");
            }
            assert!(answer.contains("grpc.health.v1.Health"));
        }
    });
}

#[test]
fn a_broken_descriptor_set_is_named() {
    let options = Options { descriptor_set: Some(vec![1, 2, 3]), ..options() };
    let error = apex_front::Front::start(options).err().unwrap();
    assert!(matches!(error, apex_front::FrontError::Descriptors(_)), "{error}");
}
