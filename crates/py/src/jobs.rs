//! What the machine releases: jobs, replies, ended runs.

use apex_machine::action;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// One attempt of one node, for an executor.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Job(pub(crate) action::Job);

#[pymethods]
impl Job {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id
    }
    #[getter]
    fn run_id(&self) -> String {
        self.0.run_id.to_string()
    }
    #[getter]
    fn node(&self) -> &str {
        &self.0.node
    }
    #[getter]
    fn attempt(&self) -> u32 {
        self.0.attempt
    }
    #[getter]
    fn max_attempts(&self) -> u32 {
        self.0.max_attempts
    }
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.as_str()
    }
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn input<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.input)
    }
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.config)
    }
    #[getter]
    fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }
    #[getter]
    fn timeout_s(&self) -> Option<f64> {
        self.0.timeout_ns.map(|ns| ns as f64 / 1e9)
    }
    #[getter]
    fn heartbeat_timeout_s(&self) -> Option<f64> {
        self.0.heartbeat_timeout_ns.map(|ns| ns as f64 / 1e9)
    }
    #[getter]
    fn progress<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.progress)
    }
    #[getter]
    fn compensation(&self) -> bool {
        self.0.compensation
    }
    /// The definition that an agent may patch, its epoch, and the patches of agents that the run refused.
    #[getter]
    fn patching<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyBytes>, u32, Bound<'py, PyBytes>)> {
        let patching = self.0.patching.as_ref()?;
        let (definition, refused) = (PyBytes::new(py, &patching.definition), PyBytes::new(py, &patching.refused));
        Some((definition, patching.epoch, refused))
    }
    #[getter]
    fn tenant(&self) -> &str {
        &self.0.tenant
    }
    #[getter]
    fn priority(&self) -> &'static str {
        priority(self.0.priority)
    }
    fn __repr__(&self) -> String {
        format!("Job({} {} attempt {})", self.0.run_id, self.0.node, self.0.attempt)
    }
}

pub(crate) fn priority(priority: apex_ir::ir::Priority) -> &'static str {
    match priority {
        apex_ir::ir::Priority::Low => "low",
        apex_ir::ir::Priority::Medium => "medium",
        apex_ir::ir::Priority::High => "high",
    }
}

/// The answer to a command.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Reply(pub(crate) action::Reply);

#[pymethods]
impl Reply {
    #[getter]
    fn token(&self) -> u64 {
        self.0.token
    }
    #[getter]
    fn code(&self) -> &'static str {
        self.0.outcome.as_ref().err().map_or("", |refusal| refusal.code)
    }
    #[getter]
    fn message(&self) -> &str {
        self.0.outcome.as_ref().err().map_or("", |refusal| &refusal.message)
    }
    #[getter]
    fn run_id(&self) -> String {
        self.0.outcome.as_ref().ok().and_then(|answer| answer.run_id).map_or_else(String::new, |id| id.to_string())
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.0.outcome.as_ref().map_or(0, |answer| answer.offset)
    }
    #[getter]
    fn existing(&self) -> bool {
        self.0.outcome.as_ref().is_ok_and(|answer| answer.existing)
    }
    #[getter]
    fn state(&self) -> &'static str {
        self.0.outcome.as_ref().ok().and_then(|answer| answer.state).map_or("", apex_machine::RunState::as_str)
    }
    #[getter]
    fn details<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(
            py,
            match &self.0.outcome {
                Ok(answer) => &answer.details,
                Err(refusal) => &refusal.details,
            },
        )
    }
}

/// A run that ended, durably.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Ended(pub(crate) action::Ended);

#[pymethods]
impl Ended {
    #[getter]
    fn run_id(&self) -> String {
        self.0.run_id.to_string()
    }
    #[getter]
    fn tenant(&self) -> &str {
        &self.0.tenant
    }
    #[getter]
    fn workflow(&self) -> &str {
        &self.0.workflow
    }
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state.as_str()
    }
    #[getter]
    fn started_ns(&self) -> i64 {
        self.0.started_ns
    }
    #[getter]
    fn ended_ns(&self) -> i64 {
        self.0.ended_ns
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Job>()?;
    module.add_class::<Reply>()?;
    module.add_class::<Ended>()
}
