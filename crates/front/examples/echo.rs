//! A front door whose caller answers at once from one thread: what the door itself costs, under a load generator.
//!
//! `cargo run --release -p apex-front --example echo -- 127.0.0.1:7999`, then for example
//! `ghz --insecure --call apex.v1.RunService.StartRun -d '{}' -c 200 -n 200000 127.0.0.1:7999`.
//! Unary calls get their own bytes back, `StartRuns` each message, `POST` its body. `GET /events` follows a topic to
//! which `POST /publish?n=1000` publishes. A line a second says what passed and what it cost.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use apex_front::{Follow, Frame, Front, Method, MethodKind, Options, Publication, Reply, Request};
use bytes::Bytes;

const TOPIC: u128 = 1;
/// Clock ticks of `/proc/self/stat` on Linux.
const TICKS_PER_S: f64 = 100.0;

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7999".to_owned());
    let method = |path: &str, kind| Method { path: format!("/apex.v1.RunService/{path}"), kind };
    let front = Front::start(Options {
        listen: vec![addr.parse()?],
        methods: vec![method("StartRun", MethodKind::Unary), method("StartRuns", MethodKind::Bidi)],
        ..Options::default()
    })?;
    println!("listening on {addr}");
    let (mut offset, mut last, mut since) = (0, front.stats(), Instant::now());
    let mut cpu = cpu_s()?;
    loop {
        wait(&front)?;
        let mut replies = Vec::new();
        let mut publish = 0;
        for request in front.drain(1_024) {
            match request {
                Request::Grpc { token, message, .. } => replies.push(Reply::Grpc { token, message }),
                Request::GrpcMessage { token, message } => replies.push(Reply::StreamSend {
                    token,
                    frames: vec![Frame { offset: None, data: message }],
                    follow: None,
                    tell_when_drained: false,
                }),
                Request::GrpcHalfClosed { token } => {
                    replies.push(Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() });
                }
                Request::Http { token, path, query, body, .. } => {
                    if path == "/events" {
                        replies.push(Reply::StreamOpen {
                            token,
                            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
                            backlog: Vec::new(),
                            follow: Some(Follow { topic: TOPIC, next_offset: offset }),
                            tell_when_drained: false,
                        });
                        continue;
                    }
                    if let Some(n) = query.strip_prefix("n=") {
                        publish += n.parse().unwrap_or(0);
                    }
                    replies.push(Reply::Http { token, status: 200, headers: Vec::new(), body });
                }
                Request::GrpcOpen { .. } | Request::StreamDrained { .. } | Request::Cancelled { .. } => {}
            }
        }
        front.reply(replies);
        for _ in 0..publish {
            let sse = format!("id: {offset}\ndata: {}\n\n", "x".repeat(180)).into();
            front.publish(&[Publication { topic: TOPIC, offset, grpc: Bytes::new(), sse }]);
            offset += 1;
        }
        if since.elapsed() > Duration::from_secs(1) {
            let (now, cpu_now) = (front.stats(), cpu_s()?);
            let work = (now.requests - last.requests + now.deliveries - last.deliveries).max(1) as f64;
            let (rate, cost) = (work / since.elapsed().as_secs_f64(), (cpu_now - cpu) * 1e6 / work);
            let batch = (now.requests - last.requests) as f64 / (now.drains - last.drains).max(1) as f64;
            println!("{rate:9.0}/s {cost:6.1} us of CPU each, {batch:5.1} a batch, {now:?}");
            (last, since, cpu) = (now, Instant::now(), cpu_now);
        }
    }
}

/// Waits until there is something to drain.
fn wait(front: &Front) -> std::io::Result<()> {
    // SAFETY: the descriptor lives as long as the front door.
    #[allow(unsafe_code)]
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(front.wake_fd()) };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None)?;
    Ok(())
}

/// User and system time of this process.
fn cpu_s() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("an odd /proc/self/stat")?;
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_S)
}
