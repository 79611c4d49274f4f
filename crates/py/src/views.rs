//! What readers see of the state.

use crate::definition::address;
use crate::jobs::priority;
use apex_machine::command::{Selector, Timing};
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
    fn patches(&self) -> u32 {
        self.0.patches
    }
    #[getter]
    fn patch_records(&self) -> Vec<(u32, u64, u64)> {
        self.0.patch_records.clone()
    }
    #[getter]
    fn fidelity(&self) -> &'static str {
        self.0.fidelity.as_str()
    }
    #[getter]
    fn goal(&self) -> &str {
        self.0.goal.as_deref().unwrap_or_default()
    }
    #[getter]
    fn parent_run_id(&self) -> String {
        self.0.parent_run.map_or_else(String::new, |run| run.to_string())
    }
    #[getter]
    fn parent_node(&self) -> &str {
        self.0.parent_node.as_deref().unwrap_or_default()
    }
    #[getter]
    fn tag(&self) -> &str {
        self.0.drawn.as_ref().map_or("", |(tag, _)| tag)
    }
    #[getter]
    fn arm(&self) -> &str {
        self.0.drawn.as_ref().map_or("", |(_, arm)| arm)
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
    fn escalated_to(&self) -> Vec<String> {
        self.0.escalated_to.clone()
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
    #[getter]
    fn base_version(&self) -> &str {
        self.0.derived.as_ref().map_or("", |derived| &derived.base_version)
    }
    #[getter]
    fn set(&self) -> &str {
        self.0.derived.as_ref().map_or("", |derived| &derived.set)
    }
    #[getter]
    fn generation(&self) -> u32 {
        self.0.derived.as_ref().map_or(0, |derived| derived.generation)
    }
    #[getter]
    fn patches(&self) -> Vec<String> {
        self.0.derived.as_ref().map_or_else(Vec::new, |derived| derived.patches.clone())
    }
}

/// A patch on a workflow.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct WorkflowPatchView(pub(crate) view::WorkflowPatchView);

#[pymethods]
impl WorkflowPatchView {
    #[getter]
    fn patch_id(&self) -> &str {
        &self.0.patch_id
    }
    #[getter]
    fn workflow(&self) -> &str {
        &self.0.workflow
    }
    #[getter]
    fn base_version(&self) -> &str {
        &self.0.base_version
    }
    #[getter]
    fn set(&self) -> &str {
        &self.0.set
    }
    #[getter]
    fn tag(&self) -> &str {
        &self.0.tag
    }
    #[getter]
    fn operations<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.operations)
    }
    #[getter]
    fn author(&self) -> &str {
        &self.0.author
    }
    #[getter]
    fn reason(&self) -> &str {
        &self.0.reason
    }
    #[getter]
    fn proposed_ns(&self) -> i64 {
        self.0.proposed_ns
    }
    #[getter]
    fn due_ns(&self) -> i64 {
        self.0.due_ns
    }
    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.as_str()
    }
    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn decided_ns(&self) -> Option<i64> {
        self.0.decided_ns
    }
    #[getter]
    fn gate(&self) -> &str {
        self.0.refused.as_ref().map_or("", |refused| &refused.gate)
    }
    #[getter]
    fn code(&self) -> &str {
        self.0.refused.as_ref().map_or("", |refused| &refused.code)
    }
    #[getter]
    fn message(&self) -> &str {
        self.0.refused.as_ref().map_or("", |refused| &refused.message)
    }
    #[getter]
    fn details<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.refused.as_ref().map_or(&[][..], |refused| &refused.details))
    }
    #[getter]
    fn rolled_back_in(&self) -> &str {
        &self.0.rolled_back_in
    }
    #[getter]
    fn rolled_back_reason(&self) -> &str {
        &self.0.rolled_back_reason
    }
}

/// A part of the starts by a tag.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ArmView(pub(crate) view::ArmView);

#[pymethods]
impl ArmView {
    #[getter]
    fn arm(&self) -> &str {
        &self.0.arm
    }
    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn set(&self) -> &str {
        &self.0.set
    }
    #[getter]
    fn share(&self) -> u32 {
        self.0.share
    }
    #[getter]
    fn started(&self) -> u64 {
        self.0.started
    }
    #[getter]
    fn completed(&self) -> u64 {
        self.0.completed
    }
    #[getter]
    fn failed(&self) -> u64 {
        self.0.failed
    }
    #[getter]
    fn cancelled(&self) -> u64 {
        self.0.cancelled
    }
    #[getter]
    fn duration_sum_ns(&self) -> u64 {
        self.0.duration_sum_ns
    }
    #[getter]
    fn duration_quantiles_ns(&self) -> (Option<u64>, Option<u64>, Option<u64>) {
        self.0.duration_quantiles_ns.into()
    }
}

/// A tag and its arms.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct TagView(pub(crate) view::TagView);

#[pymethods]
impl TagView {
    #[getter]
    fn tag(&self) -> &str {
        &self.0.tag
    }
    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn began_ns(&self) -> Option<i64> {
        self.0.began_ns
    }
    #[getter]
    fn arms(&self) -> Vec<ArmView> {
        self.0.arms.iter().cloned().map(ArmView).collect()
    }
}

/// A node that failed for good.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct DeadLetterView(pub(crate) view::DeadLetterView);

#[pymethods]
impl DeadLetterView {
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
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
    fn error_type(&self) -> &str {
        &self.0.error_type
    }
    #[getter]
    fn error_message(&self) -> &str {
        &self.0.error_message
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
    fn function(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn time_ns(&self) -> i64 {
        self.0.time_ns
    }
}

/// A breaker.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct BreakerView(pub(crate) view::BreakerView);

#[pymethods]
impl BreakerView {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state
    }
    #[getter]
    fn failures(&self) -> u32 {
        self.0.failures
    }
    #[getter]
    fn due_ns(&self) -> Option<i64> {
        self.0.due_ns
    }
    #[getter]
    fn changed_ns(&self) -> Option<i64> {
        self.0.changed_ns
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ScheduleView(pub(crate) view::ScheduleView);

#[pymethods]
impl ScheduleView {
    #[getter]
    fn name(&self) -> &str {
        &self.0.spec.name
    }
    #[getter]
    fn workflow(&self) -> &str {
        &self.0.spec.workflow
    }
    #[getter]
    fn version(&self) -> &str {
        if let Selector::Version(version) = &self.0.spec.selector { version } else { "" }
    }
    #[getter]
    fn tag(&self) -> &str {
        if let Selector::Tag(tag) = &self.0.spec.selector { tag } else { "" }
    }
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.spec.inputs)
    }
    #[getter]
    fn cron(&self) -> &str {
        if let Timing::Cron { expression, .. } = &self.0.spec.timing { expression } else { "" }
    }
    #[getter]
    fn time_zone(&self) -> &str {
        if let Timing::Cron { time_zone, .. } = &self.0.spec.timing { time_zone } else { "" }
    }
    #[getter]
    fn every_ns(&self) -> i64 {
        if let Timing::Every(every_ns) = self.0.spec.timing { every_ns } else { 0 }
    }
    #[getter]
    fn jitter_ns(&self) -> i64 {
        self.0.spec.jitter_ns
    }
    #[getter]
    fn overlap(&self) -> &'static str {
        self.0.spec.overlap.as_str()
    }
    #[getter]
    fn catch_up_ns(&self) -> i64 {
        self.0.spec.catch_up_ns
    }
    #[getter]
    fn priority(&self) -> &'static str {
        priority(self.0.spec.priority)
    }
    #[getter]
    fn labels(&self) -> BTreeMap<String, String> {
        self.0.spec.labels.iter().cloned().collect()
    }
    #[getter]
    fn time_input(&self) -> &str {
        &self.0.spec.time_input
    }
    #[getter]
    fn changed_ns(&self) -> i64 {
        self.0.changed_ns
    }
    #[getter]
    fn paused(&self) -> bool {
        self.0.paused
    }
    #[getter]
    fn next_ns(&self) -> Option<i64> {
        self.0.next_ns
    }
    #[getter]
    fn buffered_ns(&self) -> Option<i64> {
        self.0.buffered_ns
    }
    #[getter]
    fn upcoming_ns(&self) -> Vec<i64> {
        self.0.upcoming_ns.clone()
    }
    #[getter]
    fn runs_open(&self) -> u32 {
        self.0.runs_open
    }
    #[getter]
    fn last(&self) -> Option<ScheduleFiring> {
        self.0.last.clone().map(ScheduleFiring)
    }
}

/// What a time of a schedule came to.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ScheduleFiring(view::FiringView);

#[pymethods]
impl ScheduleFiring {
    #[getter]
    fn time_ns(&self) -> i64 {
        self.0.time_ns
    }
    #[getter]
    fn decided_ns(&self) -> i64 {
        self.0.decided_ns
    }
    #[getter]
    fn action(&self) -> &str {
        &self.0.action
    }
    #[getter]
    fn run_id(&self) -> &str {
        &self.0.run_id
    }
    #[getter]
    fn error_code(&self) -> &str {
        self.0.error.as_ref().map_or("", |(code, _)| code)
    }
    #[getter]
    fn error_message(&self) -> &str {
        self.0.error.as_ref().map_or("", |(_, message)| message)
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RunView>()?;
    module.add_class::<ApprovalView>()?;
    module.add_class::<ScheduleView>()?;
    module.add_class::<WorkflowPatchView>()?;
    module.add_class::<ArmView>()?;
    module.add_class::<TagView>()?;
    module.add_class::<ScheduleFiring>()?;
    module.add_class::<WorkflowView>()?;
    module.add_class::<DeadLetterView>()?;
    module.add_class::<BreakerView>()
}
