//! What readers see of the state.

use crate::definition::address;
use crate::jobs::priority;
use apex_machine::view;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct RunView(pub(crate) view::RunView);

#[pymethods]
impl RunView {
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
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn ir_hash(&self) -> String {
        address(&self.0.ir_hash)
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
    fn ended_ns(&self) -> Option<i64> {
        self.0.ended_ns
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }
    #[getter]
    fn head(&self) -> u64 {
        self.0.head
    }
    #[getter]
    fn nodes_done(&self) -> u32 {
        self.0.nodes_done
    }
    #[getter]
    fn nodes_total(&self) -> u32 {
        self.0.nodes_total
    }
    #[getter]
    fn phase(&self) -> Vec<String> {
        self.0.phase.clone()
    }
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.error.as_ref().map(|error| PyBytes::new(py, error))
    }
    #[getter]
    fn correlation(&self) -> &str {
        &self.0.correlation
    }
    #[getter]
    fn labels(&self) -> BTreeMap<String, String> {
        self.0.labels.iter().cloned().collect()
    }
    #[getter]
    fn priority(&self) -> &'static str {
        priority(self.0.priority)
    }
    #[getter]
    fn epoch(&self) -> u32 {
        self.0.epoch
    }
    #[getter]
    fn goal(&self) -> &str {
        self.0.goal.as_deref().unwrap_or_default()
    }
    #[getter]
    fn quarantined(&self) -> bool {
        self.0.quarantined
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ApprovalView(pub(crate) view::ApprovalView);

#[pymethods]
impl ApprovalView {
    #[getter]
    fn ticket(&self) -> &str {
        &self.0.ticket
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
    fn prompt(&self) -> &str {
        &self.0.prompt
    }
    #[getter]
    fn requested_ns(&self) -> i64 {
        self.0.requested_ns
    }
    #[getter]
    fn due_ns(&self) -> Option<i64> {
        self.0.due_ns
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
    fn version(&self) -> &str {
        &self.0.version
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct WorkflowView(pub(crate) view::WorkflowView);

#[pymethods]
impl WorkflowView {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn hash(&self) -> String {
        address(&self.0.hash)
    }
    #[getter]
    fn tags(&self) -> Vec<String> {
        self.0.tags.clone()
    }
    #[getter]
    fn registered_ns(&self) -> i64 {
        self.0.registered_ns
    }
    #[getter]
    fn definition<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.definition)
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RunView>()?;
    module.add_class::<ApprovalView>()?;
    module.add_class::<WorkflowView>()
}
