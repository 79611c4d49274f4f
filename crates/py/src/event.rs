//! Durable events, read from record bodies, in the forms that leave the house.

use crate::commands::parse_run_id;
use crate::errors;
use crate::machine::Turn;
use apex_machine::{Header, RunId, record, render};
use prost::Message;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// `apex.v1.Event`; the numbers are those of `proto/apex/v1/common.proto`, held to them by a test.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(string, tag = "1")]
    run_id: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(string, tag = "3")]
    r#type: String,
    #[prost(string, tag = "4")]
    time: String,
    #[prost(uint32, tag = "5")]
    epoch: u32,
    #[prost(bytes = "vec", tag = "6")]
    payload_json: Vec<u8>,
}

/// A durable event.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Event {
    position: u64,
    run_id: RunId,
    offset: u64,
    event_type: u8,
    time_ns: i64,
    epoch: u32,
    previous: u64,
    tenant: String,
    body: Vec<u8>,
}

impl Event {
    pub(crate) fn read(position: u64, body: &[u8]) -> PyResult<Self> {
        let header = Header::parse(body).map_err(|e| bad(position, &e))?;
        Ok(Self {
            position,
            run_id: header.run_id,
            offset: header.run_seq,
            event_type: header.event_type,
            time_ns: header.time_ns,
            epoch: header.epoch,
            previous: header.run_prev,
            tenant: header.tenant.to_owned(),
            body: body.to_vec(),
        })
    }

    /// The bytes of its record.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn header(&self) -> PyResult<Header<'_>> {
        Header::parse(&self.body).map_err(|e| bad(self.position, &e))
    }

    fn name(&self) -> &'static str {
        render::type_name(self.event_type).unwrap_or("Unknown")
    }

    fn rendered(&self) -> PyResult<Vec<u8>> {
        render::event_json(&self.body).map_err(|e| bad(self.position, &e))
    }
}

fn bad(position: u64, error: &apex_machine::BadRecord) -> PyErr {
    errors::core("BAD_RECORD", &format!("record {position}: {error}"))
}

#[pymethods]
impl Event {
    #[getter]
    fn run_id(&self) -> String {
        self.run_id.to_string()
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.offset
    }
    #[getter]
    fn r#type(&self) -> &'static str {
        self.name()
    }
    #[getter]
    fn time_ns(&self) -> i64 {
        self.time_ns
    }
    #[getter]
    fn epoch(&self) -> u32 {
        self.epoch
    }
    #[getter(position)]
    fn position_getter(&self) -> u64 {
        self.position
    }
    #[getter(body)]
    fn body_getter<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }
    #[getter]
    fn previous(&self) -> Option<u64> {
        (self.previous != record::NONE).then_some(self.previous)
    }
    #[getter]
    fn tenant(&self) -> &str {
        &self.tenant
    }
    /// Of its partition.
    #[getter]
    fn sequence(&self) -> PyResult<u64> {
        Ok(self.header()?.sequence)
    }
    #[getter]
    fn partition(&self) -> PyResult<u16> {
        Ok(self.header()?.partition)
    }
    #[getter]
    fn term(&self) -> PyResult<u64> {
        Ok(self.header()?.term)
    }
    #[getter]
    fn causation(&self) -> PyResult<Option<u64>> {
        Ok(Some(self.header()?.causation).filter(|&offset| offset != record::NONE))
    }
    #[getter]
    fn correlation(&self) -> PyResult<&str> {
        Ok(self.header()?.correlation)
    }
    #[getter]
    fn ends_run(&self) -> bool {
        render::ends_run(self.event_type)
    }
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let payload = render::payload_json(&self.body).map_err(|e| bad(self.position, &e))?;
        Ok(PyBytes::new(py, &payload))
    }
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.rendered()?))
    }
    fn sse<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let json = self.rendered()?;
        let mut frame = format!("id: {}\nevent: {}\ndata: ", self.offset, self.name()).into_bytes();
        frame.extend_from_slice(&json);
        frame.extend_from_slice(b"\n\n");
        Ok(PyBytes::new(py, &frame))
    }
    fn proto<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let wire = Wire {
            run_id: self.run_id.to_string(),
            offset: self.offset,
            r#type: self.name().to_owned(),
            time: render::time(self.time_ns),
            epoch: self.epoch,
            payload_json: render::payload_json(&self.body).map_err(|e| bad(self.position, &e))?,
        };
        Ok(PyBytes::new(py, &wire.encode_to_vec()))
    }
    fn __repr__(&self) -> String {
        format!("Event({} {} {})", self.run_id, self.offset, self.name())
    }
}

#[pyfunction]
fn read_event(position: u64, body: &[u8]) -> PyResult<Event> {
    Event::read(position, body)
}

/// The runs whose events someone watches.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct Followed(Mutex<HashSet<RunId>>);

#[pymethods]
impl Followed {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }
    fn add(&self, run_id: &str) -> PyResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(parse_run_id(run_id)?);
        Ok(())
    }
    fn discard(&self, run_id: &str) -> PyResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&parse_run_id(run_id)?);
        Ok(())
    }
    fn __len__(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
    fn events(&self, turn: &Bound<'_, Turn>) -> PyResult<Vec<Event>> {
        let followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = &turn.get().0;
        let first = turn.position - u64::from(turn.count);
        let bodies = record::split_records(&turn.records).map_err(|e| bad(first, &e))?;
        let mut events = Vec::new();
        for (position, body) in (first..).zip(bodies) {
            let header = Header::parse(body).map_err(|e| bad(position, &e))?;
            if followed.contains(&header.run_id) {
                events.push(Event::read(position, body)?);
            }
        }
        Ok(events)
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Event>()?;
    module.add_class::<Followed>()?;
    module.add_function(wrap_pyfunction!(read_event, module)?)
}
