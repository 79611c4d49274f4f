//! One stream to one viewer: a bounded buffer between the caller and a connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::details::GrpcStatus;
use crate::grpc;
use crate::lock;
use crate::reply::{Follow, Frame};

/// Frames that wait together are sent together, up to this many bytes.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Grpc,
    Sse,
    /// Bytes of an HTTP answer.
    Raw,
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Done(GrpcStatus),
    TooSlow,
}

/// What the connection may send next.
pub(crate) enum Next {
    Data(Bytes),
    End(End, Option<u64>),
}

pub(crate) struct Outgoing {
    pub(crate) token: u64,
    pub(crate) kind: StreamKind,
    /// The client sends as well; only the caller knows when such a stream is over.
    pub(crate) both_ways: bool,
    /// Closes the connection that carries this stream and nothing after it (HTTP/1.1).
    pub(crate) kill: Option<Arc<Notify>>,
    buffer_bytes: usize,
    state: Mutex<State>,
    /// Rung when the buffer shrinks, for the reader of a bidirectional call.
    pub(crate) shrunk: Notify,
    /// The caller wants no more messages of this call for now.
    held: AtomicBool,
    /// Rung when it wants them again.
    pub(crate) released: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    // Part of `bytes` that the caller sent by itself, at the front. It does not count against a viewer.
    sent_bytes: usize,
    follow: Option<Follow>,
    place: Option<usize>,
    last_taken: Option<u64>,
    tell_when_drained: bool,
    end: Option<End>,
    waker: Option<Waker>,
}

/// What became of a publication for one viewer.
#[derive(PartialEq, Eq)]
pub(crate) enum Delivery {
    Buffered,
    Skipped,
    TooSlow,
}

impl Outgoing {
    pub(crate) fn new(
        token: u64,
        kind: StreamKind,
        both_ways: bool,
        buffer_bytes: usize,
        kill: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            token,
            kind,
            both_ways,
            kill,
            buffer_bytes,
            state: Mutex::default(),
            shrunk: Notify::new(),
            held: AtomicBool::new(false),
            released: Notify::new(),
        }
    }

    /// Frames from the caller; they are never too many. True if the buffer is already low and the caller asked to be
    /// told.
    pub(crate) fn send(&self, frames: Vec<Frame>, tell_when_drained: bool) -> bool {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return false;
        }
        for mut frame in frames {
            if self.kind == StreamKind::Grpc {
                frame.data = grpc::frame(&frame.data);
            }
            state.bytes += frame.data.len();
            state.frames.push_back(frame);
        }
        // What was live before these frames is now in front of them and was paid for.
        state.sent_bytes = state.bytes;
        let drained = tell_when_drained && state.bytes <= self.buffer_bytes / 2;
        state.tell_when_drained = tell_when_drained && !drained;
        wake(state);
        drained
    }

    /// Notes where in its topic it is. False if it ended.
    pub(crate) fn follow(&self, follow: Follow, place: usize) -> bool {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return false;
        }
        state.follow = Some(follow);
        state.place = Some(place);
        true
    }

    /// Leaves its topic: gives the topic and the place in it.
    pub(crate) fn unfollow(&self) -> Option<(u128, usize)> {
        let mut state = lock(&self.state);
        let place = state.place.take()?;
        state.follow.map(|follow| (follow.topic, place))
    }

    /// One event of its topic, framed. Never waits; a viewer without room for it is over.
    pub(crate) fn deliver(&self, offset: u64, data: &Bytes) -> Delivery {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return Delivery::Skipped;
        }
        match &mut state.follow {
            Some(follow) if offset >= follow.next_offset => follow.next_offset = offset + 1,
            _ => return Delivery::Skipped,
        }
        if data.is_empty() {
            return Delivery::Skipped;
        }
        let live = state.bytes - state.sent_bytes;
        if live > 0 && live + data.len() > self.buffer_bytes {
            state.end = Some(End::TooSlow);
            wake(state);
            return Delivery::TooSlow;
        }
        state.bytes += data.len();
        state.frames.push_back(Frame { offset: Some(offset), data: data.clone() });
        wake(state);
        Delivery::Buffered
    }

    /// A comment, if nothing else waits.
    pub(crate) fn comment(&self, comment: &Bytes) {
        let mut state = lock(&self.state);
        if state.end.is_none() && state.frames.is_empty() {
            state.bytes += comment.len();
            state.sent_bytes += comment.len();
            state.frames.push_back(Frame { offset: None, data: comment.clone() });
            wake(state);
        }
    }

    /// Ends it after what is buffered. The first end counts.
    pub(crate) fn end(&self, end: End) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.end = Some(end);
            wake(state);
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    /// Holds the client back, or lets it go on.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
        if !held {
            self.released.notify_one();
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self, bytes: usize) -> bool {
        lock(&self.state).bytes > bytes
    }

    /// Gives up on a viewer that does not even read what was left for it.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.frames = VecDeque::new();
        state.bytes = 0;
        state.sent_bytes = 0;
    }

    /// The next bytes for the connection, as many as wait up to a chunk; then the end. The flag says that the caller
    /// asked to be told and that the buffer is now low.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<(Next, bool)> {
        let mut state = lock(&self.state);
        let Some(first) = state.frames.pop_front() else {
            if let Some(end) = state.end.clone() {
                return Poll::Ready((Next::End(end, state.last_taken), false));
            }
            match &mut state.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                waker => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        state.last_taken = first.offset.or(state.last_taken);
        let mut data = first.data;
        if state.frames.front().is_some_and(|next| data.len() + next.data.len() <= CHUNK_BYTES) {
            let mut chunk = BytesMut::with_capacity((state.bytes).min(CHUNK_BYTES));
            chunk.extend_from_slice(&data);
            while let Some(next) = state.frames.pop_front_if(|next| chunk.len() + next.data.len() <= CHUNK_BYTES) {
                state.last_taken = next.offset.or(state.last_taken);
                chunk.extend_from_slice(&next.data);
            }
            data = chunk.freeze();
        }
        state.bytes -= data.len();
        state.sent_bytes = state.sent_bytes.saturating_sub(data.len());
        let drained = state.tell_when_drained && state.bytes <= self.buffer_bytes / 2;
        state.tell_when_drained &= !drained;
        drop(state);
        self.shrunk.notify_one();
        Poll::Ready((Next::Data(data), drained))
    }
}

fn wake(mut state: std::sync::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
