//! A front door with a caller behind it, and clients before it.
//! The caller is a thread that waits on the eventfd, as the real one does.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apex_front::{Frame, Front, Method, MethodKind, Options, Reply, Request};
use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Nothing here takes this long unless it hangs, however slow the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const UNARY: &str = "/t.T/Unary";
pub const WATCH: &str = "/t.T/Watch";
pub const BIDI: &str = "/t.T/Bidi";

pub fn options() -> Options {
    let method = |path: &str, kind| Method { path: path.to_owned(), kind };
    Options {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        methods: vec![
            method(UNARY, MethodKind::Unary),
            method(WATCH, MethodKind::ServerStream),
            method(BIDI, MethodKind::Bidi),
        ],
        // Not in between, however slow the machine is.
        sse_comment_interval_s: 3_600.0,
        slow_close_s: 3_600.0,
        keepalive_s: 3_600.0,
        header_read_timeout_s: 3_600.0,
        body_read_timeout_s: 3_600.0,
        ..Options::default()
    }
}

/// Waits until the eventfd is readable.
pub fn wait_readable(front: &Front, timeout: Duration) -> bool {
    // SAFETY: the descriptor lives as long as the front door, which is borrowed here.
    #[allow(unsafe_code)]
    let fd = unsafe { BorrowedFd::borrow_raw(front.wake_fd()) };
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// A caller that is driven by the test: it takes requests one by one.
pub struct Desk {
    pub front: Arc<Front>,
    taken: VecDeque<Request>,
}

impl Desk {
    pub fn open(options: Options) -> Self {
        Self { front: Arc::new(Front::start(options).unwrap()), taken: VecDeque::new() }
    }

    pub fn addr(&self) -> SocketAddr {
        self.front.local_addrs()[0]
    }

    pub fn try_next(&mut self, timeout: Duration) -> Option<Request> {
        let until = Instant::now() + timeout;
        while self.taken.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if !wait_readable(&self.front, left) {
                return None;
            }
            self.taken.extend(self.front.drain(1_024));
        }
        self.taken.pop_front()
    }

    pub fn next(&mut self) -> Request {
        self.try_next(PATIENCE).expect("nothing came")
    }

    pub fn token(&mut self) -> u64 {
        token(&self.next())
    }

    pub fn reply(&self, reply: Reply) {
        self.front.reply(vec![reply]);
    }
}

pub fn token(request: &Request) -> u64 {
    match request {
        Request::Grpc { token, .. }
        | Request::GrpcOpen { token, .. }
        | Request::GrpcMessage { token, .. }
        | Request::GrpcHalfClosed { token }
        | Request::Http { token, .. }
        | Request::StreamDrained { token }
        | Request::Cancelled { token } => *token,
    }
}

pub fn frame(offset: u64, data: impl Into<Bytes>) -> Frame {
    Frame { offset: Some(offset), data: data.into() }
}

pub fn sse_headers() -> Vec<(String, String)> {
    vec![("content-type".to_owned(), "text/event-stream".to_owned())]
}

/// Answers everything from a thread: unary calls and posts with their own bytes, streams with nothing.
pub struct Echo {
    pub front: Arc<Front>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub fn open(options: Options) -> Self {
        let front = Arc::new(Front::start(options).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (inner, stopped) = (Arc::clone(&front), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                wait_readable(&inner, Duration::from_millis(20));
                let replies = inner.drain(1_024).into_iter().filter_map(echo).collect();
                inner.reply(replies);
            }
        });
        Self { front, stop, thread: Some(thread) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.front.local_addrs()[0]
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn echo(request: Request) -> Option<Reply> {
    let ok = |token| Reply::StreamEnd { token, code: 0, message: String::new(), details: Bytes::new() };
    match request {
        Request::Grpc { token, method: 0, message, .. } => Some(Reply::Grpc { token, message }),
        Request::Grpc { token, .. } | Request::GrpcHalfClosed { token } => Some(ok(token)),
        Request::GrpcMessage { token, message } => Some(Reply::StreamSend {
            token,
            frames: vec![Frame { offset: None, data: message }],
            follow: None,
            tell_when_drained: false,
        }),
        Request::Http { token, body, .. } => Some(Reply::Http { token, status: 200, headers: Vec::new(), body }),
        Request::GrpcOpen { .. } | Request::StreamDrained { .. } | Request::Cancelled { .. } => None,
    }
}

/// Passes bytes through tonic's client.
#[derive(Clone, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

pub type Client = tonic::client::Grpc<tonic::transport::Channel>;

pub async fn client(addr: SocketAddr) -> Client {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

pub fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the test hangs") })
}

/// An HTTP/1.1 client that shows every byte.
pub struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
    }

    pub fn post(&mut self, target: &str, body: &[u8]) {
        self.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()));
        self.send(body);
    }

    /// One read; false at the end.
    fn fill(&mut self) -> bool {
        let mut chunk = [0_u8; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("reading: {error}"),
        }
    }

    fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    pub fn head(&mut self) -> (u16, String) {
        let head = String::from_utf8(self.until(b"\r\n\r\n").expect("closed before an answer")).unwrap().to_lowercase();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
    }

    /// An answer with its whole body.
    pub fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = Vec::new();
        if let Some(length) = length {
            while self.buffer.len() < length {
                assert!(self.fill(), "closed inside a body");
            }
            body = self.buffer.drain(..length).collect();
        } else if head.contains("transfer-encoding: chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        }
        Answer { status, head, body }
    }

    /// One chunk of a chunked body; `None` at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        while self.buffer.len() < length + 2 {
            assert!(self.fill(), "closed inside a chunk");
        }
        let chunk = self.buffer.drain(..length + 2).take(length).collect();
        (length > 0).then_some(chunk)
    }

    /// True once the other side has closed.
    pub fn is_closed(&mut self) -> bool {
        while self.fill() {}
        true
    }
}

/// One thing that becomes true, for threads.
#[derive(Default)]
pub struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    pub fn wait(&self) {
        let waited = self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        assert!(*waited.0, "the gate stays shut");
    }
}

/// Tries until it is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}
