//! The front door: requests out as tuples, replies in as tuples (`_core.pyi` lists both).

use crate::commands::parse_run_id;
use crate::errors;
use apex_front::{Follow, Frame, FrontError, Method, MethodKind, Options, Publication, Reply, Request};
use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::time::Duration;

#[pyclass(frozen, module = "apex_fast.core._core")]
struct Front(apex_front::Front);

fn method_kind(kind: &str) -> PyResult<MethodKind> {
    match kind {
        "unary" => Ok(MethodKind::Unary),
        "server_stream" => Ok(MethodKind::ServerStream),
        "bidi" => Ok(MethodKind::Bidi),
        other => Err(PyValueError::new_err(format!("{other:?} is not unary, server_stream or bidi"))),
    }
}

fn set_option(options: &mut Options, name: &str, value: f64) -> bool {
    let whole = value as usize;
    match name {
        "threads" => options.threads = whole,
        "body_bytes_max" => options.body_bytes_max = whole,
        "blob_bytes_max" => options.blob_bytes_max = whole,
        "header_bytes_max" => options.header_bytes_max = whole,
        "queue_requests_max" => options.queue_requests_max = whole,
        "queue_bytes_max" => options.queue_bytes_max = whole,
        "calls_max" => options.calls_max = whole,
        "connections_max" => options.connections_max = whole,
        "concurrent_streams_max" => options.concurrent_streams_max = value as u32,
        "subscriber_buffer_bytes" => options.subscriber_buffer_bytes = whole,
        "keepalive_s" => options.keepalive_s = value,
        "header_read_timeout_s" => options.header_read_timeout_s = value,
        "body_read_timeout_s" => options.body_read_timeout_s = value,
        "slow_close_s" => options.slow_close_s = value,
        "sse_comment_interval_s" => options.sse_comment_interval_s = value,
        "retry_after_s" => options.retry_after_s = value,
        "reuse_port" => options.reuse_port = value != 0.0,
        _ => return false,
    }
    true
}

#[pymethods]
impl Front {
    #[staticmethod]
    #[pyo3(signature = (host, port, grpc_methods, options = None))]
    fn start(
        py: Python<'_>,
        host: &str,
        port: u16,
        grpc_methods: Vec<(String, String)>,
        options: Option<BTreeMap<String, f64>>,
    ) -> PyResult<Self> {
        let methods = grpc_methods
            .into_iter()
            .map(|(path, kind)| Ok(Method { path, kind: method_kind(&kind)? }))
            .collect::<PyResult<_>>()?;
        let mut settings = Options { methods, ..Options::default() };
        for (name, value) in options.unwrap_or_default() {
            if !set_option(&mut settings, &name, value) {
                return Err(PyValueError::new_err(format!("{name} is not an option of the front door")));
            }
        }
        let found = (host, port).to_socket_addrs().map_err(|e| {
            errors::front(&FrontError::Options(format!("{host}:{port} is not an address to listen on: {e}")))
        })?;
        // `localhost` may be two addresses; the first is the one that is asked for with port 0, too.
        settings.listen = found.take(1).collect();
        py.detach(|| apex_front::Front::start(settings)).map(Self).map_err(|e| errors::front(&e))
    }
    #[getter]
    fn port(&self) -> u16 {
        self.0.local_addrs().first().map_or(0, std::net::SocketAddr::port)
    }
    fn fileno(&self) -> i32 {
        self.0.wake_fd()
    }
    fn drain<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.0.drain(limit).into_iter().map(|request| request_tuple(py, request)).collect()
    }
    fn reply(&self, replies: &Bound<'_, PyList>) -> PyResult<()> {
        let batch = replies.iter().map(|reply| extract_reply(reply.cast::<PyTuple>()?)).collect::<PyResult<_>>()?;
        self.0.reply(batch);
        Ok(())
    }
    fn publish(&self, events: Vec<(String, u64, Bound<'_, PyBytes>, Bound<'_, PyBytes>)>) -> PyResult<usize> {
        let batch = events
            .iter()
            .map(|(topic, offset, grpc, sse)| {
                Ok(Publication { topic: topic_of(topic)?, offset: *offset, grpc: copy(grpc), sse: copy(sse) })
            })
            .collect::<PyResult<Vec<_>>>()?;
        Ok(self.0.publish(&batch))
    }
    fn hold(&self, token: u64, held: bool) {
        self.0.hold(token, held);
    }
    fn subscribers(&self, topic: &str) -> PyResult<(usize, usize)> {
        Ok(self.0.subscribers(topic_of(topic)?))
    }
    fn end_topic(&self, topic: &str) -> PyResult<()> {
        self.0.reply(vec![Reply::TopicEnd { topic: topic_of(topic)? }]);
        Ok(())
    }
    fn stop_accepting(&self) {
        self.0.stop_accepting();
    }
    fn shutdown(&self, py: Python<'_>, grace_s: f64) -> bool {
        py.detach(|| self.0.shutdown(Duration::from_secs_f64(grace_s.clamp(0.0, 86_400.0))))
    }
    fn stats(&self) -> BTreeMap<&'static str, u64> {
        let s = self.0.stats();
        BTreeMap::from([
            ("connections", s.connections),
            ("connections_open", s.connections_open),
            ("requests", s.requests),
            ("drains", s.drains),
            ("wakes", s.wakes),
            ("queued", s.queued),
            ("queued_bytes", s.queued_bytes),
            ("calls_open", s.calls_open),
            ("refused", s.refused),
            ("cancelled", s.cancelled),
            ("deliveries", s.deliveries),
            ("slow_closed", s.slow_closed),
        ])
    }
}

fn copy(bytes: &Bound<'_, PyBytes>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_bytes())
}

fn topic_of(run_id: &str) -> PyResult<u128> {
    Ok(u128::from_be_bytes(parse_run_id(run_id)?.0))
}

fn metadata<'py>(py: Python<'py>, metadata: apex_front::Metadata) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in metadata.entries {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

fn request_tuple(py: Python<'_>, request: Request) -> PyResult<Bound<'_, PyTuple>> {
    match request {
        Request::Grpc { token, method, metadata: entries, message, .. } => {
            (0, token, method, metadata(py, entries)?, PyBytes::new(py, &message)).into_pyobject(py)
        }
        Request::GrpcMessage { token, message } => (1, token, PyBytes::new(py, &message)).into_pyobject(py),
        Request::GrpcHalfClosed { token } => (2, token).into_pyobject(py),
        Request::Http { token, method, path, query, headers, body, .. } => {
            let dict = PyDict::new(py);
            for (name, value) in headers {
                dict.set_item(name, value)?;
            }
            (3, token, method, path, query, dict, PyBytes::new(py, &body)).into_pyobject(py)
        }
        Request::Cancelled { token } => (4, token).into_pyobject(py),
        Request::GrpcOpen { token, method, metadata: entries, .. } => {
            (5, token, method, metadata(py, entries)?).into_pyobject(py)
        }
        Request::StreamDrained { token } => (6, token).into_pyobject(py),
    }
}

fn item<'py, T>(reply: &Bound<'py, PyTuple>, index: usize) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
    for<'a> <T as FromPyObject<'a, 'py>>::Error: Into<PyErr>,
{
    reply.get_borrowed_item(index)?.extract::<T>().map_err(Into::into)
}

fn data(reply: &Bound<'_, PyTuple>, index: usize) -> PyResult<Bytes> {
    Ok(copy(reply.get_item(index)?.cast::<PyBytes>()?))
}

fn frames(reply: &Bound<'_, PyTuple>, index: usize) -> PyResult<Vec<Frame>> {
    let list: Vec<(Option<u64>, Bound<'_, PyBytes>)> = item(reply, index)?;
    Ok(list.into_iter().map(|(offset, bytes)| Frame { offset, data: copy(&bytes) }).collect())
}

fn follow(reply: &Bound<'_, PyTuple>, topic: usize, next_offset: usize) -> PyResult<Option<Follow>> {
    let topic: Option<String> = item(reply, topic)?;
    topic.map(|topic| Ok(Follow { topic: topic_of(&topic)?, next_offset: item(reply, next_offset)? })).transpose()
}

fn extract_reply(reply: &Bound<'_, PyTuple>) -> PyResult<Reply> {
    let kind: u8 = item(reply, 0)?;
    let token: u64 = item(reply, 1)?;
    Ok(match kind {
        0 => Reply::Grpc { token, message: data(reply, 2)? },
        1 => Reply::GrpcError { token, code: item(reply, 2)?, message: item(reply, 3)?, details: data(reply, 4)? },
        2 => Reply::Http { token, status: item(reply, 2)?, headers: item(reply, 3)?, body: data(reply, 4)? },
        3 => Reply::StreamOpen {
            token,
            follow: follow(reply, 2, 4)?,
            backlog: frames(reply, 3)?,
            headers: item(reply, 5)?,
            tell_when_drained: item(reply, 6)?,
        },
        4 => Reply::StreamSend {
            token,
            frames: frames(reply, 2)?,
            follow: follow(reply, 3, 4)?,
            tell_when_drained: item(reply, 5)?,
        },
        5 => Reply::StreamEnd { token, code: item(reply, 2)?, message: item(reply, 3)?, details: data(reply, 4)? },
        other => return Err(PyValueError::new_err(format!("{other} is not a kind of reply"))),
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Front>()
}
