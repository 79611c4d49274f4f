//! Bodies of answers, as the connection pulls them.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::details::{GrpcStatus, code};
use crate::grpc;
use crate::house::Guard;
use crate::outgoing::{End, Next, Outgoing, StreamKind};
use crate::sse;

pub(crate) enum Body {
    Empty,
    Full(Bytes),
    /// A gRPC message, then its status.
    Message {
        data: Bytes,
        trailers: Option<HeaderMap>,
    },
    Stream(Box<StreamBody>),
    Reflection(tonic::body::Body),
}

/// Pulls a stream. Dropped before its end, it closes the call and tells the caller.
pub(crate) struct StreamBody {
    outgoing: Arc<Outgoing>,
    guard: Guard,
    deadline: Option<Pin<Box<Sleep>>>,
    reader: Option<JoinHandle<()>>,
    finished: bool,
}

impl StreamBody {
    pub(crate) fn new(
        outgoing: Arc<Outgoing>,
        guard: Guard,
        deadline: Option<tokio::time::Instant>,
        reader: Option<JoinHandle<()>>,
    ) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self { outgoing, guard, deadline, reader, finished: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let message = "the deadline passed while the stream was open".to_owned();
            let status = GrpcStatus::refusal(code::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message, None);
            self.guard.abandon(&status);
            self.finished = true;
            return Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(&status)))));
        }
        match self.outgoing.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((Next::Data(data), drained)) => {
                if drained {
                    self.guard.tell_drained();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready((Next::End(end, last_offset), _)) => {
                self.guard.finish();
                self.finished = true;
                Poll::Ready(self.last(end, last_offset))
            }
        }
    }

    fn last(&mut self, end: End, last_offset: Option<u64>) -> Option<Result<Frame<Bytes>, BodyError>> {
        match (self.outgoing.kind, end) {
            (StreamKind::Grpc, End::Done(status)) => Some(Ok(Frame::trailers(grpc::trailers(&status)))),
            (StreamKind::Grpc, End::TooSlow) => {
                Some(Ok(Frame::trailers(grpc::trailers(&GrpcStatus::too_slow(last_offset)))))
            }
            (StreamKind::Sse, End::TooSlow) => Some(Ok(Frame::data(sse::too_slow(last_offset)))),
            (_, End::Done(status)) if status.code == 0 => None,
            (StreamKind::Sse, End::Done(status)) => Some(Ok(Frame::data(sse::failed(&status, last_offset)))),
            (StreamKind::Raw, _) => Some(Err("the answer broke off".into())),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

type BodyError = Box<dyn Error + Send + Sync>;

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            body @ Self::Full(_) => match std::mem::replace(body, Self::Empty) {
                Self::Full(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                _ => Poll::Ready(None),
            },
            Self::Message { data, trailers } => {
                if !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))));
                }
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Self::Stream(stream) => stream.poll(cx),
            Self::Reflection(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Message { data, trailers } => data.is_empty() && trailers.is_none(),
            Self::Stream(stream) => stream.finished,
            Self::Reflection(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(data) => SizeHint::with_exact(data.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
