//! Where callers and clients meet: opens and closes calls, hands replies to whoever waits, publishes.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use crate::calls::{Answer, Call, Calls, Expects};
use crate::details::GrpcStatus;
use crate::inbox::Inbox;
use crate::lock;
use crate::options::{MethodKind, Options};
use crate::outgoing::{End, Outgoing, StreamKind};
use crate::reflection::Reflection;
use crate::reply::{Follow, Frame, Publication, Reply};
use crate::request::Request;
use crate::sse;
use crate::stats::{Counters, Stats};
use crate::topics::Topics;

pub(crate) struct House {
    pub(crate) limits: Limits,
    pub(crate) methods: HashMap<String, (u16, MethodKind)>,
    pub(crate) reflection: Reflection,
    pub(crate) inbox: Inbox,
    pub(crate) calls: Calls,
    pub(crate) counters: Counters,
    /// True once the house is stopping.
    pub(crate) stopping: watch::Sender<bool>,
    topics: Topics,
    // Viewers that were too slow, until they have read what was left for them.
    laggards: Mutex<Vec<Laggard>>,
    connections: Mutex<usize>,
    connection_closed: Condvar,
}

/// The bounds, as the parts of the house use them.
pub(crate) struct Limits {
    pub(crate) body_bytes_max: usize,
    pub(crate) blob_bytes_max: usize,
    pub(crate) header_bytes_max: usize,
    pub(crate) concurrent_streams_max: u32,
    pub(crate) connections_max: usize,
    pub(crate) keepalive: Duration,
    pub(crate) header_read_timeout: Duration,
    pub(crate) body_read_timeout: Duration,
    pub(crate) subscriber_buffer_bytes: usize,
    pub(crate) slow_close: Duration,
    pub(crate) retry_after_s: f64,
}

impl House {
    pub(crate) fn new(options: &Options, reflection: Reflection) -> std::io::Result<Self> {
        let methods = options.methods.iter().enumerate();
        Ok(Self {
            limits: Limits {
                body_bytes_max: options.body_bytes_max,
                blob_bytes_max: options.blob_bytes_max,
                header_bytes_max: options.header_bytes_max,
                concurrent_streams_max: options.concurrent_streams_max,
                connections_max: options.connections_max,
                keepalive: Duration::from_secs_f64(options.keepalive_s),
                header_read_timeout: Duration::from_secs_f64(options.header_read_timeout_s),
                body_read_timeout: Duration::from_secs_f64(options.body_read_timeout_s),
                subscriber_buffer_bytes: options.subscriber_buffer_bytes,
                slow_close: Duration::from_secs_f64(options.slow_close_s),
                retry_after_s: options.retry_after_s,
            },
            methods: methods.map(|(index, method)| (method.path.clone(), (index as u16, method.kind))).collect(),
            reflection,
            inbox: Inbox::new(options.queue_requests_max, options.queue_bytes_max)?,
            calls: Calls::new(options.calls_max),
            counters: Counters::default(),
            stopping: watch::Sender::new(false),
            topics: Topics::default(),
            laggards: Mutex::default(),
            connections: Mutex::default(),
            connection_closed: Condvar::new(),
        })
    }

    /// Opens a call that waits for one answer; `None` if there are too many.
    pub(crate) fn open(self: &Arc<Self>, expects: Expects) -> Option<(Guard, oneshot::Receiver<Answer>)> {
        let (sender, receiver) = oneshot::channel();
        let token = self.calls.open(|_| Call::Waiting(sender, expects))?;
        Some((Guard { house: Arc::clone(self), token, open: true }, receiver))
    }

    /// Opens a call whose stream has begun.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<(Guard, Arc<Outgoing>)> {
        let mut stream = None;
        let token = self.calls.open(|token| {
            let outgoing = Outgoing::new(token, StreamKind::Grpc, true, self.limits.subscriber_buffer_bytes, None);
            Call::Streaming(Arc::clone(stream.insert(Arc::new(outgoing))))
        })?;
        stream.map(|outgoing| (Guard { house: Arc::clone(self), token, open: true }, outgoing))
    }

    pub(crate) fn drain(&self, max: usize) -> Vec<Request> {
        let batch = self.inbox.take(max);
        Counters::add(&self.counters.drains, 1);
        Counters::add(&self.counters.requests, batch.len() as u64);
        batch
    }

    pub(crate) fn reply(&self, batch: Vec<Reply>) {
        for reply in batch {
            match reply {
                Reply::Grpc { token, message } => self.answer(token, Answer::Message(message)),
                Reply::Http { token, status, headers, body } => {
                    self.answer(token, Answer::Http { status, headers, body });
                }
                Reply::GrpcError { token, code, message, details } => {
                    self.end(token, GrpcStatus { code, message, details });
                }
                Reply::StreamOpen { token, headers, backlog, follow, tell_when_drained } => {
                    self.send(token, headers, backlog, follow, tell_when_drained);
                }
                Reply::StreamSend { token, frames, follow, tell_when_drained } => {
                    self.send(token, Vec::new(), frames, follow, tell_when_drained);
                }
                Reply::StreamEnd { token, code, message, details } => {
                    self.end(token, GrpcStatus { code, message, details });
                }
                Reply::TopicEnd { topic } => {
                    for viewer in self.topics.close(topic) {
                        viewer.end(End::Done(GrpcStatus::ok()));
                    }
                }
            }
        }
    }

    pub(crate) fn publish(&self, batch: &[Publication]) -> usize {
        let (deliveries, slow) = self.topics.publish(batch);
        Counters::add(&self.counters.deliveries, deliveries as u64);
        Counters::add(&self.counters.slow_closed, slow.len() as u64);
        for viewer in slow {
            if self.calls.take(viewer.token).is_some() {
                Counters::add(&self.counters.cancelled, 1);
                self.inbox.push_control(Request::Cancelled { token: viewer.token });
            }
            let laggard = Laggard { since: Instant::now(), kill: viewer.kill.clone(), viewer: Arc::downgrade(&viewer) };
            lock(&self.laggards).push(laggard);
        }
        deliveries
    }

    pub(crate) fn hold(&self, token: u64, held: bool) {
        self.calls.with(token, |call| {
            if let Call::Streaming(outgoing) = call {
                outgoing.hold(held);
            }
        });
    }

    pub(crate) fn subscribers(&self, topic: u128) -> (usize, usize) {
        self.topics.subscribers(topic)
    }

    /// Closes a call whose answer nobody takes any more, and tells the caller unless it had ended it.
    pub(crate) fn abandon(&self, token: u64, status: &GrpcStatus) {
        let Some(call) = self.calls.take(token) else { return };
        if let Call::Streaming(outgoing) = call {
            let had_ended = outgoing.has_ended();
            // Before it leaves its topic: a stream that has ended cannot join one again.
            outgoing.end(End::Done(status.clone()));
            self.topics.unsubscribe(&outgoing);
            if had_ended {
                return;
            }
        }
        Counters::add(&self.counters.cancelled, 1);
        self.inbox.push_control(Request::Cancelled { token });
    }

    /// Ends what would stay open for ever. Calls that wait get their answers.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        for stream in self.calls.streams() {
            self.end_if_endless(&stream);
        }
    }

    fn end_if_endless(&self, stream: &Outgoing) {
        if stream.kind != StreamKind::Raw && !stream.both_ways {
            self.abandon(stream.token, &GrpcStatus::stopping());
        }
    }

    /// A comment to every SSE viewer that has nothing to read.
    pub(crate) fn comment(&self) {
        for stream in self.calls.streams() {
            if stream.kind == StreamKind::Sse {
                stream.comment(&sse::COMMENT);
            }
        }
    }

    /// Lets go of viewers that were too slow and do not read what was left for them.
    pub(crate) fn drop_laggards(&self) {
        lock(&self.laggards).retain(|laggard| {
            if laggard.since.elapsed() < self.limits.slow_close {
                return true;
            }
            if let Some(viewer) = laggard.viewer.upgrade() {
                viewer.abandon();
            }
            // Also when the stream itself is over: its last bytes may wait for ever in the connection.
            if let Some(kill) = &laggard.kill {
                kill.notify_one();
            }
            false
        });
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.read();
        stats.connections_open = *lock(&self.connections) as u64;
        stats.wakes = self.inbox.wake.writes();
        stats.queued = self.inbox.len() as u64;
        stats.queued_bytes = self.inbox.bytes() as u64;
        stats.calls_open = self.calls.len() as u64;
        stats
    }

    /// Counts a connection in; `None` if there are too many.
    pub(crate) fn connect(self: &Arc<Self>) -> Option<Connected> {
        let mut connections = lock(&self.connections);
        if *connections >= self.limits.connections_max {
            return None;
        }
        *connections += 1;
        Counters::add(&self.counters.connections, 1);
        Some(Connected(Arc::clone(self)))
    }

    /// Blocks until no connection is left; false if that takes longer than `grace`.
    pub(crate) fn wait_until_empty(&self, grace: Duration) -> bool {
        let connections = lock(&self.connections);
        let waited = self.connection_closed.wait_timeout_while(connections, grace, |open| *open > 0);
        let (open, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        *open == 0
    }

    fn answer(&self, token: u64, answer: Answer) {
        match self.calls.take(token) {
            Some(Call::Waiting(sender, _)) => {
                // The client may have gone in this moment; then nobody is to be told.
                let _ = sender.send(answer);
            }
            Some(Call::Streaming(outgoing)) => {
                self.topics.unsubscribe(&outgoing);
                outgoing.end(End::Done(GrpcStatus::misfit()));
            }
            None => {}
        }
    }

    fn send(
        &self,
        token: u64,
        headers: Vec<(String, String)>,
        frames: Vec<Frame>,
        follow: Option<Follow>,
        tell_when_drained: bool,
    ) {
        let Some(outgoing) = self.stream(token, headers) else {
            // Gone already, or a unary call, which has no stream.
            self.answer(token, Answer::Status(GrpcStatus::misfit()));
            return;
        };
        if outgoing.send(frames, tell_when_drained) {
            self.inbox.push_control(Request::StreamDrained { token });
        }
        if let Some(follow) = follow {
            self.topics.subscribe(&outgoing, follow);
        }
        if *self.stopping.borrow() {
            self.end_if_endless(&outgoing);
        }
    }

    fn end(&self, token: u64, status: GrpcStatus) {
        let waits_for_grpc = self.calls.with(token, |call| {
            matches!(call, Call::Waiting(_, Expects::Message))
                || status.code != 0 && matches!(call, Call::Waiting(_, Expects::GrpcStream))
        });
        match waits_for_grpc {
            None => {}
            Some(true) => self.answer(token, Answer::Status(status)),
            Some(false) => {
                if let Some(outgoing) = self.stream(token, Vec::new()) {
                    outgoing.end(End::Done(status));
                    self.topics.unsubscribe(&outgoing);
                }
            }
        }
    }

    /// The stream of a call; begins it if the call still waits.
    fn stream(&self, token: u64, headers: Vec<(String, String)>) -> Option<Arc<Outgoing>> {
        self.calls.with(token, |call| {
            let (kind, kill) = match call {
                Call::Streaming(outgoing) => return Some(Arc::clone(outgoing)),
                Call::Waiting(_, Expects::Message) => return None,
                Call::Waiting(_, Expects::GrpcStream) => (StreamKind::Grpc, None),
                Call::Waiting(_, Expects::Http(kill)) => (stream_kind(&headers), kill.clone()),
            };
            let outgoing = Arc::new(Outgoing::new(token, kind, false, self.limits.subscriber_buffer_bytes, kill));
            let begun = Call::Streaming(Arc::clone(&outgoing));
            if let Call::Waiting(sender, _) = std::mem::replace(call, begun) {
                // If the client has gone in this moment its guard closes the call.
                let _ = sender.send(Answer::Stream { headers, outgoing: Arc::clone(&outgoing) });
            }
            Some(outgoing)
        })?
    }
}

/// A viewer that was too slow, with the switch of its connection if it has one for itself.
struct Laggard {
    since: Instant,
    kill: Option<Arc<Notify>>,
    viewer: Weak<Outgoing>,
}

fn stream_kind(headers: &[(String, String)]) -> StreamKind {
    let is_sse = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type") && value.to_ascii_lowercase().starts_with("text/event-stream")
    });
    if is_sse { StreamKind::Sse } else { StreamKind::Raw }
}

/// Holds a call open on the client's side. Dropped before the end it closes the call and tells the caller.
pub(crate) struct Guard {
    house: Arc<House>,
    pub(crate) token: u64,
    open: bool,
}

impl Guard {
    /// The answer was taken: nothing is left to tell.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.open)
            && let Some(Call::Streaming(outgoing)) = self.house.calls.take(self.token)
        {
            self.house.topics.unsubscribe(&outgoing);
        }
    }

    /// The answer was given by whoever closed the call.
    pub(crate) fn answered(mut self) {
        self.open = false;
    }

    pub(crate) fn abandon(&mut self, status: &GrpcStatus) {
        if std::mem::take(&mut self.open) {
            self.house.abandon(self.token, status);
        }
    }

    pub(crate) fn tell_drained(&self) {
        self.house.inbox.push_control(Request::StreamDrained { token: self.token });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.open {
            self.abandon(&GrpcStatus::gone());
        }
    }
}

/// A connection that is counted.
pub(crate) struct Connected(Arc<House>);

impl Drop for Connected {
    fn drop(&mut self) {
        *lock(&self.0.connections) -= 1;
        self.0.connection_closed.notify_all();
    }
}
