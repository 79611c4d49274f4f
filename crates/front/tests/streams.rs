//! Live streams: backlog and feed without gap or double, slow viewers, comments, ends.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use apex_front::{Follow, Options, Publication, Reply, Request};
use bytes::Bytes;
use proptest::prelude::*;
use support::{Desk, Raw, WATCH, Wire, block_on, client, eventually, frame, options, path, sse_headers};
use tokio_stream::StreamExt;

const TOPIC: u128 = 0x0190_b5d2_7f3c_7abc_8def_0123_4567_89ab;

fn event(offset: u64) -> Bytes {
    format!("id: {offset}\ndata: {{}}\n\n").into()
}

fn publication(offset: u64) -> Publication {
    Publication { topic: TOPIC, offset, grpc: Bytes::from(offset.to_string()), sse: event(offset) }
}

/// Opens an SSE stream at the desk; gives the client and the token.
fn watch(desk: &mut Desk) -> (Wire, u64) {
    let mut wire = Wire::connect(desk.addr());
    wire.get("/runs/x/events");
    let token = desk.token();
    (wire, token)
}

fn open(token: u64, backlog: std::ops::Range<u64>, next_offset: u64) -> Reply {
    Reply::StreamOpen {
        token,
        headers: sse_headers(),
        backlog: backlog.map(|offset| frame(offset, event(offset))).collect(),
        follow: Some(Follow { topic: TOPIC, next_offset }),
        tell_when_drained: false,
    }
}

/// Reads events until the stream ends or `last` was seen; gives their offsets and the text of what was no event.
fn read(wire: &mut Wire, last: Option<u64>) -> (Vec<u64>, String) {
    let (mut offsets, mut rest, mut text) = (Vec::new(), String::new(), String::new());
    while offsets.last() != last.as_ref() || last.is_none() {
        let Some(chunk) = wire.chunk() else { break };
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            match event.strip_prefix("id: ").and_then(|event| event.split('\n').next()?.parse().ok()) {
                Some(offset) => offsets.push(offset),
                None => rest.push_str(&event),
            }
        }
    }
    (offsets, rest)
}

#[test]
fn an_event_stream_has_its_headers() {
    let mut desk = Desk::open(options());
    let (mut wire, token) = watch(&mut desk);
    desk.reply(open(token, 0..0, 0));
    let (status, head) = wire.head();
    assert_eq!(status, 200);
    for line in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(line), "{head}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Viewers of both kinds join at any moment, from any offset, with a backlog of what is durable then; each sees
    /// every offset from its first one on, once and in order.
    #[test]
    fn backlog_and_feed_meet_without_gap_or_double(
        joins in prop::collection::vec((0_u64..200, 0_u64..260, any::<bool>()), 1..8),
        batch in 1_usize..9,
        total in 200_u64..300,
        threads in 1_usize..3,
    ) {
        let mut desk = Desk::open(Options { threads, ..options() });
        let addr = desk.addr();
        let mut joins = joins;
        joins.sort_unstable();
        let mut readers = Vec::new();
        let mut published = 0_u64;
        let publish_to = |desk: &Desk, published: &mut u64, to: u64| {
            while *published < to {
                let end = (*published + batch as u64).min(to);
                desk.front.publish(&(*published..end).map(publication).collect::<Vec<_>>());
                *published = end;
            }
        };
        for (at, from, is_grpc) in joins {
            publish_to(&desk, &mut published, at);
            let from = from.min(total - 1);
            let expected: Vec<u64> = (from..total).collect();
            if is_grpc {
                readers.push((expected, std::thread::spawn(move || block_on(async move {
                    let mut client = client(addr).await;
                    let call = tonic::Request::new(Bytes::new());
                    let stream = client.server_streaming(call, path(WATCH), Raw).await.unwrap().into_inner();
                    let texts = stream.map(|m| String::from_utf8(m.unwrap().to_vec()).unwrap());
                    texts.map(|text| text.parse().unwrap()).collect::<Vec<u64>>().await
                }))));
            } else {
                readers.push((expected, std::thread::spawn(move || {
                    let mut wire = Wire::connect(addr);
                    wire.get("/");
                    wire.head();
                    read(&mut wire, None).0
                })));
            }
            let token = desk.token();
            let backlog = from.min(published)..published;
            let data = |offset: u64| if is_grpc { Bytes::from(offset.to_string()) } else { event(offset) };
            desk.reply(Reply::StreamOpen {
                token,
                headers: sse_headers(),
                backlog: backlog.map(|offset| frame(offset, data(offset))).collect(),
                follow: Some(Follow { topic: TOPIC, next_offset: from.max(published) }),
                tell_when_drained: false,
            });
        }
        publish_to(&desk, &mut published, total);
        desk.reply(Reply::TopicEnd { topic: TOPIC });
        for (expected, reader) in readers {
            prop_assert_eq!(reader.join().unwrap(), expected);
        }
        prop_assert_eq!(desk.front.subscribers(TOPIC), (0, 0));
        eventually("all calls closed", || desk.front.stats().calls_open == 0);
    }
}

#[test]
fn a_viewer_that_is_too_slow_is_told_its_last_offset_and_closed() {
    let mut desk = Desk::open(Options { subscriber_buffer_bytes: 32 << 10, ..options() });
    let (mut slow, token) = watch(&mut desk);
    desk.reply(open(token, 0..3, 3));
    let (mut quick, other) = watch(&mut desk);
    desk.reply(open(other, 0..3, 3));
    assert_eq!(desk.front.subscribers(TOPIC), (0, 2));
    quick.head();
    let (offsets, _) = read(&mut quick, Some(2));
    assert_eq!(offsets, [0, 1, 2]);
    // The slow one reads nothing; the quick one reads each before the next is published.
    let data = "x".repeat(8 << 10);
    let mut offset = 3;
    while desk.front.stats().slow_closed == 0 {
        let sse = Bytes::from(format!("id: {offset}\ndata: {data}\n\n"));
        desk.front.publish(&[Publication { topic: TOPIC, offset, grpc: Bytes::new(), sse }]);
        assert_eq!(read(&mut quick, Some(offset)).0, [offset]);
        offset += 1;
    }
    assert_eq!(desk.next(), Request::Cancelled { token });
    assert_eq!(desk.front.subscribers(TOPIC), (0, 1));
    // What was left for it is in order, without a hole, and ends with the offset to go on after.
    slow.head();
    let (offsets, last) = read(&mut slow, None);
    let seen = *offsets.last().unwrap();
    assert_eq!(offsets, (0..=seen).collect::<Vec<_>>());
    assert_eq!(seen, offset - 2, "all but the one that did not fit");
    assert!(last.starts_with("event: error\ndata: {\"code\":\"SUBSCRIBER_TOO_SLOW\""), "{last}");
    assert!(last.ends_with(&format!("\"last_offset\":{seen}}}\n\n")), "{last}");
}

#[test]
fn a_slow_viewer_that_reads_nothing_at_all_is_let_go() {
    let options = Options { subscriber_buffer_bytes: 32 << 10, slow_close_s: 0.1, ..options() };
    let mut desk = Desk::open(options);
    let (slow, token) = watch(&mut desk);
    desk.reply(open(token, 0..0, 0));
    let sse = Bytes::from(vec![b'x'; 30 << 10]);
    let mut offset = 0;
    while desk.front.stats().slow_closed == 0 {
        desk.front.publish(&[Publication { topic: TOPIC, offset, grpc: Bytes::new(), sse: sse.clone() }]);
        offset += 1;
        std::thread::yield_now();
    }
    eventually("its connection is closed", || desk.front.stats().connections_open == 0);
    drop(slow);
}

#[test]
fn a_grpc_viewer_that_is_too_slow_gets_its_offset_in_the_details() {
    let mut desk = Desk::open(Options { subscriber_buffer_bytes: 32 << 10, ..options() });
    let addr = desk.addr();
    let closed = std::sync::Arc::new(support::Gate::default());
    let gate = closed.clone();
    let watching = std::thread::spawn(move || {
        block_on(async move {
            let mut client = client(addr).await;
            let call = tonic::Request::new(Bytes::new());
            let mut stream = client.server_streaming(call, path(WATCH), Raw).await.unwrap().into_inner();
            tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
            let mut seen = 0_u64;
            loop {
                match stream.next().await.unwrap() {
                    Ok(_) => seen += 1,
                    Err(status) => return (seen, status),
                }
            }
        })
    });
    let token = desk.token();
    desk.reply(open(token, 0..0, 0));
    let mut offset = 0;
    while desk.front.stats().slow_closed == 0 {
        let grpc = Bytes::from(vec![1_u8; 8 << 10]);
        desk.front.publish(&[Publication { topic: TOPIC, offset, grpc, sse: Bytes::new() }]);
        offset += 1;
        std::thread::yield_now();
    }
    closed.open();
    let (seen, status) = watching.join().unwrap();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(seen, offset - 1);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("SUBSCRIBER_TOO_SLOW") && details.contains("last_offset"), "{details}");
    assert!(details.contains(&(seen - 1).to_string()), "{details}");
}

#[test]
fn a_backlog_larger_than_the_buffer_is_no_reason_to_be_too_slow() {
    let mut desk = Desk::open(Options { subscriber_buffer_bytes: 1 << 10, ..options() });
    let (mut wire, token) = watch(&mut desk);
    desk.reply(open(token, 0..5_000, 5_000));
    desk.front.publish(&(5_000..5_010).map(publication).collect::<Vec<_>>());
    desk.reply(Reply::TopicEnd { topic: TOPIC });
    wire.head();
    assert_eq!(read(&mut wire, None).0, (0..5_010).collect::<Vec<_>>());
    assert_eq!(desk.front.stats().slow_closed, 0);
}

#[test]
fn a_long_backlog_is_paged_at_the_viewers_pace() {
    let mut desk = Desk::open(Options { subscriber_buffer_bytes: 64 << 10, ..options() });
    let (wire, token) = watch(&mut desk);
    let page = |page: u64| {
        (page * 100..page * 100 + 100)
            .map(|n| frame(n, format!("id: {n}\ndata: {}\n\n", "x".repeat(2_000))))
            .collect::<Vec<_>>()
    };
    let backlog = page(0);
    desk.reply(Reply::StreamOpen { token, headers: sse_headers(), backlog, follow: None, tell_when_drained: true });
    // Pages are asked for until the sockets are full, then no more.
    let mut sent = 1;
    while let Some(request) = desk.try_next(Duration::from_millis(300)) {
        assert_eq!(request, Request::StreamDrained { token });
        desk.reply(Reply::StreamSend { token, frames: page(sent), follow: None, tell_when_drained: true });
        sent += 1;
        assert!(sent < 1_000, "nothing holds the pages back");
    }
    let reading = std::thread::spawn(move || {
        let mut wire = wire;
        wire.head();
        read(&mut wire, None).0
    });
    while sent < 60 {
        assert_eq!(desk.next(), Request::StreamDrained { token });
        desk.reply(Reply::StreamSend { token, frames: page(sent), follow: None, tell_when_drained: true });
        sent += 1;
    }
    desk.reply(Reply::StreamSend {
        token,
        frames: Vec::new(),
        follow: Some(Follow { topic: TOPIC, next_offset: sent * 100 }),
        tell_when_drained: false,
    });
    desk.front.publish(&[publication(sent * 100)]);
    desk.reply(Reply::TopicEnd { topic: TOPIC });
    assert_eq!(reading.join().unwrap(), (0..=sent * 100).collect::<Vec<_>>());
}

#[test]
fn a_silent_event_stream_gets_comments() {
    let mut desk = Desk::open(Options { sse_comment_interval_s: 0.05, ..options() });
    let (mut wire, token) = watch(&mut desk);
    desk.reply(open(token, 0..1, 1));
    wire.head();
    assert_eq!(wire.chunk().unwrap(), event(0));
    assert_eq!(wire.chunk().unwrap(), b":\n\n");
    assert_eq!(wire.chunk().unwrap(), b":\n\n");
}

#[test]
fn an_event_stream_that_fails_says_so_and_where() {
    let mut desk = Desk::open(options());
    let (mut wire, token) = watch(&mut desk);
    desk.reply(open(token, 0..2, 2));
    desk.reply(Reply::StreamEnd { token, code: 16, message: "the \"ticket\" ended".to_owned(), details: Bytes::new() });
    wire.head();
    let (offsets, last) = read(&mut wire, None);
    assert_eq!(offsets, [0, 1]);
    assert_eq!(
        last,
        "event: error\ndata: {\"status\":16,\"detail\":\"the \\\"ticket\\\" ended\",\"last_offset\":1}\n\n"
    );
}

#[test]
fn a_viewer_that_leaves_is_forgotten() {
    let mut desk = Desk::open(options());
    let (wire, token) = watch(&mut desk);
    desk.reply(open(token, 0..1, 1));
    assert_eq!(desk.front.subscribers(TOPIC), (0, 1));
    drop(wire);
    assert_eq!(desk.next(), Request::Cancelled { token });
    eventually("no subscriber", || desk.front.subscribers(TOPIC) == (0, 0));
    assert_eq!(desk.front.publish(&[publication(1)]), 0);
    assert_eq!(desk.front.stats().calls_open, 0);
}

#[test]
fn one_publication_reaches_a_thousand_viewers() {
    let mut desk = Desk::open(options());
    let mut viewers: Vec<_> = (0..1_000).map(|_| watch(&mut desk)).collect();
    let opened = viewers.iter().map(|(_, token)| open(*token, 0..0, 0)).collect();
    desk.front.reply(opened);
    assert_eq!(desk.front.publish(&[publication(0), publication(1)]), 2_000);
    for (wire, _) in &mut viewers {
        wire.head();
        assert_eq!(read(wire, Some(1)).0, [0, 1]);
    }
}
