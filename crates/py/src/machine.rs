//! The machine behind a lock, its turns, and the three calls.

use crate::commands::{self, Ids, parse_run_id, selector};
use crate::definition::function_table;
use crate::errors;
use crate::jobs::{Ended, Job, Reply};
use crate::views::{
    ApprovalView, BreakerView, DeadLetterView, RunView, ScheduleView, TagView, WorkflowPatchView, WorkflowView,
};
use apex_machine::view::{LetterFilter, PatchTally, RunFilter};
use apex_machine::{Config, Limits, RunId, RunState, record};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Batches smaller than this keep the GIL: giving it up and taking it back costs more than they do.
const DETACH_COMMANDS_MIN: usize = 32;
/// A panicking run is set aside at each try; more than this many in one step is a broken machine.
const PANICS_PER_STEP_MAX: usize = 64;

/// Open runs that are looked at while the machine's lock is held.
const RUNS_PER_LOOK: usize = 512;

/// What a step decided.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Turn(pub(crate) apex_machine::Turn);

#[pymethods]
impl Turn {
    #[getter]
    fn count(&self) -> u32 {
        self.0.count
    }
    #[getter]
    fn position(&self) -> u64 {
        self.0.position
    }
    #[getter]
    fn more(&self) -> bool {
        self.0.more
    }
    #[getter]
    fn size(&self) -> usize {
        self.0.records.len()
    }
    fn records<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.records)
    }
}

/// The state at one moment; its bytes are made without the machine, so no step waits for them.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Capture {
    #[pyo3(get)]
    position: u64,
    held: Mutex<Option<apex_machine::Capture>>,
}

#[pymethods]
impl Capture {
    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let held = held.ok_or_else(|| errors::core("BAD_VALUE", "a capture gives its bytes once"))?;
        let bytes = py.detach(|| held.bytes());
        Ok(PyBytes::new(py, &bytes))
    }
}

struct House {
    machine: apex_machine::Machine,
    ids: Ids,
}

impl House {
    /// A step that survives a panic in one run: that run is set aside, its command answered INTERNAL.
    fn step(&mut self, now_ns: i64, batch: Vec<(u64, apex_machine::Command)>) -> Option<apex_machine::Turn> {
        let mut batch = Some(batch);
        for _ in 0..PANICS_PER_STEP_MAX {
            let commands = batch.take().unwrap_or_default();
            match catch_unwind(AssertUnwindSafe(|| self.machine.step(now_ns, commands))) {
                Ok(turn) => return Some(turn),
                Err(_) => {
                    self.machine.quarantine_in_hand()?;
                }
            }
        }
        None
    }
}

/// Jobs, ids of jobs to cancel, replies, ended runs.
type Released<'py> = (Bound<'py, PyList>, Vec<u64>, Bound<'py, PyList>, Bound<'py, PyList>);

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Machine(Mutex<House>);

impl Machine {
    fn house(&self) -> MutexGuard<'_, House> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(machine: apex_machine::Machine, partitions: u16) -> Self {
        Self(Mutex::new(House { machine, ids: Ids::new(partitions) }))
    }
}

/// The bounds of the machine that nobody changed, by name.
#[pyfunction]
fn machine_limits() -> BTreeMap<&'static str, i64> {
    Limits::default().named().into_iter().collect()
}

fn config(partitions: u16, term: u64, limits: Option<BTreeMap<String, i64>>, fidelity: &str) -> PyResult<Config> {
    let fidelity = commands::optional_fidelity(fidelity)?.unwrap_or_default();
    let mut config = Config { partitions, term, fidelity, limits: Limits::default() };
    for (name, value) in limits.unwrap_or_default() {
        if !config.limits.set(&name, value) {
            return Err(errors::core(
                "BAD_VALUE",
                &format!("{name} = {value} is not a limit of the machine, or out of range"),
            ));
        }
    }
    Ok(config)
}

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (partitions = 64, term = 1, limits = None, fidelity = "full"))]
    fn new(partitions: u16, term: u64, limits: Option<BTreeMap<String, i64>>, fidelity: &str) -> PyResult<Self> {
        Ok(Self::of(apex_machine::Machine::new(config(partitions, term, limits, fidelity)?), partitions))
    }

    #[staticmethod]
    #[pyo3(signature = (snapshot, term, partitions = 64, limits = None, fidelity = "full"))]
    fn restore(
        py: Python<'_>,
        snapshot: &[u8],
        term: u64,
        partitions: u16,
        limits: Option<BTreeMap<String, i64>>,
        fidelity: &str,
    ) -> PyResult<Self> {
        let config = config(partitions, term, limits, fidelity)?;
        py.detach(|| apex_machine::Machine::restore(config, snapshot))
            .map(|machine| Self::of(machine, partitions))
            .map_err(|e| errors::core("BAD_SNAPSHOT", &e.to_string()))
    }

    fn step(&self, py: Python<'_>, now_ns: i64, commands: &Bound<'_, PyList>) -> PyResult<Turn> {
        let mut batch = Vec::with_capacity(commands.len());
        {
            let mut house = self.house();
            for item in commands.iter() {
                let pair = item.cast::<PyTuple>()?;
                let token: u64 = pair.get_borrowed_item(0)?.extract()?;
                let command = commands::extract(&pair.get_item(1)?, now_ns, &mut house.ids)?;
                batch.push((token, command));
            }
        }
        let turn = if batch.len() < DETACH_COMMANDS_MIN {
            self.house().step(now_ns, batch)
        } else {
            py.detach(|| self.house().step(now_ns, batch))
        };
        turn.map(Turn).ok_or_else(|| errors::core("INTERNAL", "the machine failed and cannot go on; start again"))
    }

    fn advance<'py>(&self, py: Python<'py>, position: u64) -> PyResult<Released<'py>> {
        let released = self.house().machine.advance(position);
        let jobs = PyList::new(py, released.jobs.into_iter().map(Job))?;
        let replies = PyList::new(py, released.replies.into_iter().map(Reply))?;
        let ended = PyList::new(py, released.ended.into_iter().map(Ended))?;
        Ok((jobs, released.cancels, replies, ended))
    }

    fn apply(&self, py: Python<'_>, position: u64, records: &[u8]) -> PyResult<u64> {
        let bad = |reason: String| errors::core("BAD_RECORD", &reason);
        py.detach(|| {
            let mut house = self.house();
            let mut at = position;
            for body in record::split_records(records).map_err(|e| e.to_string())? {
                let machine = &mut house.machine;
                catch_unwind(AssertUnwindSafe(|| machine.apply(at, body)))
                    .map_err(|_| format!("record {at}: replaying it failed"))?
                    .map_err(|e| e.to_string())?;
                at += 1;
            }
            Ok(at)
        })
        .map_err(bad)
    }

    fn recovered<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let released = py.detach(|| self.house().machine.recovered());
        PyList::new(py, released.jobs.into_iter().map(Job))
    }

    /// No record from before this time is of a run that is open, or ended at `ended_ns` or later. Looks at every open
    /// run, a few at a time, so that the loop goes on meanwhile.
    fn history_needed_from(&self, py: Python<'_>, ended_ns: i64) -> i64 {
        py.detach(|| {
            let open = self.house().machine.open_runs();
            let first = |ids: &[RunId]| {
                let house = self.house();
                ids.iter().filter_map(|id| house.machine.started_ns(id)).min()
            };
            let first = open.chunks(RUNS_PER_LOOK).filter_map(first).min().unwrap_or(ended_ns);
            // After the open ones: what ended meanwhile is here.
            first.min(self.house().machine.first_start_of_ended(ended_ns))
        })
    }

    fn histories_wanted(&self) -> Vec<(String, String, String)> {
        let wanted = self.house().machine.histories_wanted();
        wanted
            .into_iter()
            .map(|(tenant, run, origin)| (tenant.to_string(), run.to_string(), origin.to_string()))
            .collect()
    }

    fn next_due(&self) -> Option<i64> {
        self.house().machine.next_due()
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.house().machine.snapshot());
        PyBytes::new(py, &bytes)
    }

    fn capture(&self) -> Capture {
        let held = self.house().machine.capture();
        Capture { position: held.position(), held: Mutex::new(Some(held)) }
    }

    fn run(&self, tenant: &str, run_id: &str) -> Option<RunView> {
        let run_id = apex_machine::RunId::parse(run_id)?;
        self.house().machine.run(tenant, &run_id).map(RunView)
    }

    #[pyo3(signature = (tenant, limit, page = "", states = None, workflow = "", version = "", labels = None,
        started_after_ns = None, started_before_ns = None, parent_run_id = ""))]
    #[allow(clippy::too_many_arguments)]
    fn runs(
        &self,
        tenant: &str,
        limit: usize,
        page: &str,
        states: Option<Vec<String>>,
        workflow: &str,
        version: &str,
        labels: Option<BTreeMap<String, String>>,
        started_after_ns: Option<i64>,
        started_before_ns: Option<i64>,
        parent_run_id: &str,
    ) -> PyResult<(Vec<RunView>, String)> {
        let states = states
            .unwrap_or_default()
            .iter()
            .map(|s| RunState::parse(s).ok_or_else(|| errors::core("BAD_VALUE", &format!("{s:?} is not a state"))))
            .collect::<PyResult<Vec<_>>>()?;
        let filter = RunFilter {
            states,
            workflow: (!workflow.is_empty()).then(|| workflow.to_owned()),
            version: (!version.is_empty()).then(|| version.to_owned()),
            labels: labels.map(|l| l.into_iter().collect()).unwrap_or_default(),
            started_after_ns,
            started_before_ns,
            parent: if parent_run_id.is_empty() { None } else { Some(parse_run_id(parent_run_id)?) },
        };
        let page = self.house().machine.runs(tenant, &filter, limit, page);
        Ok((page.items.into_iter().map(RunView).collect(), page.next))
    }

    #[pyo3(signature = (tenant, limit, page = "", run_id = ""))]
    fn approvals(&self, tenant: &str, limit: usize, page: &str, run_id: &str) -> PyResult<(Vec<ApprovalView>, String)> {
        let run_id = if run_id.is_empty() { None } else { Some(parse_run_id(run_id)?) };
        let page = self.house().machine.approvals(tenant, run_id.as_ref(), limit, page);
        Ok((page.items.into_iter().map(ApprovalView).collect(), page.next))
    }

    #[pyo3(signature = (tenant, limit, page = "", workflow = "", function = "", run_id = ""))]
    fn dead_letters(
        &self,
        tenant: &str,
        limit: usize,
        page: &str,
        workflow: &str,
        function: &str,
        run_id: &str,
    ) -> PyResult<(Vec<DeadLetterView>, String)> {
        let run_id = if run_id.is_empty() { None } else { Some(parse_run_id(run_id)?) };
        let filter = LetterFilter { workflow: workflow.to_owned(), name: function.to_owned(), run_id };
        let page = self.house().machine.dead_letters(tenant, &filter, limit, page);
        Ok((page.items.into_iter().map(DeadLetterView).collect(), page.next))
    }

    fn dead_letter(&self, tenant: &str, id: &str) -> Option<DeadLetterView> {
        self.house().machine.dead_letter(tenant, id).map(DeadLetterView)
    }

    #[pyo3(signature = (tenant, limit, page = ""))]
    fn breakers(&self, tenant: &str, limit: usize, page: &str) -> (Vec<BreakerView>, String) {
        let page = self.house().machine.breakers(tenant, limit, page);
        (page.items.into_iter().map(BreakerView).collect(), page.next)
    }

    /// JSON, offset and epoch.
    fn query<'py>(
        &self,
        py: Python<'py>,
        tenant: &str,
        run_id: &str,
        expression: &str,
    ) -> PyResult<(Bound<'py, PyBytes>, u64, u32)> {
        let run_id = parse_run_id(run_id)?;
        let answer = self.house().machine.query(tenant, &run_id, expression);
        let answer = answer.map_err(|refusal| errors::core(refusal.code, &refusal.message))?;
        Ok((PyBytes::new(py, &answer.json), answer.offset, answer.epoch))
    }

    /// Canonical bytes and epoch.
    fn definition_of<'py>(&self, py: Python<'py>, tenant: &str, run_id: &str) -> PyResult<(Bound<'py, PyBytes>, u32)> {
        let run_id = parse_run_id(run_id)?;
        let found = self.house().machine.definition_of(tenant, &run_id);
        let (definition, epoch) = found.map_err(|refusal| errors::core(refusal.code, &refusal.message))?;
        Ok((PyBytes::new(py, &definition), epoch))
    }

    fn workflows(&self, tenant: &str) -> Vec<WorkflowView> {
        self.house().machine.workflows(tenant).into_iter().map(WorkflowView).collect()
    }

    #[pyo3(signature = (tenant, name, version = None, tag = None))]
    fn workflow(&self, tenant: &str, name: &str, version: Option<String>, tag: Option<String>) -> Option<WorkflowView> {
        self.house().machine.workflow(tenant, name, &selector(version, tag)).map(WorkflowView)
    }

    fn schedule(&self, tenant: &str, name: &str) -> Option<ScheduleView> {
        self.house().machine.schedule(tenant, name).map(ScheduleView)
    }

    #[pyo3(signature = (tenant, limit, page = ""))]
    fn schedules(&self, tenant: &str, limit: usize, page: &str) -> (Vec<ScheduleView>, String) {
        let page = self.house().machine.schedules(tenant, limit, page);
        (page.items.into_iter().map(ScheduleView).collect(), page.next)
    }

    fn patch_counts(&self) -> Vec<(PatchTally, u64)> {
        self.house().machine.patch_counts()
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let c = self.house().machine.counts();
        BTreeMap::from([
            ("runs_open", c.runs_open),
            ("runs_resting", c.runs_resting),
            ("runs_ended", c.runs_ended),
            ("jobs_in_flight", c.jobs_in_flight),
            ("timers", c.timers),
            ("approvals", c.approvals),
            ("workflows", c.workflows),
            ("schedules", c.schedules),
            ("idempotency_keys", c.idempotency_keys),
            ("commands_waiting", c.commands_waiting),
            ("runs_with_backlog", c.runs_with_backlog),
            ("programs_cached", c.programs_cached),
            ("replies_waiting", c.replies_waiting),
            ("runs_quarantined", c.runs_quarantined),
            ("dead_letters", c.dead_letters),
            ("dead_letters_pushed_out", c.dead_letters_pushed_out),
            ("breakers", c.breakers),
            ("starts", c.starts),
            ("retries", c.retries),
            ("compensations", c.compensations),
            ("breaker_changes", c.breaker_changes),
            ("migrations", c.migrations),
            ("patches", c.patches),
            ("rollbacks", c.rollbacks),
            ("workflow_patches_pending", c.workflow_patches_waiting),
            ("workflow_patches_accepted", c.workflow_patches_accepted),
            ("workflow_patches_rejected", c.workflow_patches_rejected),
            ("versions_derived", c.versions_derived),
        ])
    }

    #[pyo3(signature = (functions = None))]
    fn know_functions(&self, functions: Option<&[u8]>) -> PyResult<()> {
        let functions = functions.map(function_table).transpose()?;
        self.house().machine.know_functions(functions);
        Ok(())
    }

    #[pyo3(signature = (tenant, workflow, set = "", limit = 100, page = ""))]
    fn workflow_patches(
        &self,
        tenant: &str,
        workflow: &str,
        set: &str,
        limit: usize,
        page: &str,
    ) -> (Vec<WorkflowPatchView>, String) {
        let page = self.house().machine.workflow_patches(tenant, workflow, set, limit, page);
        (page.items.into_iter().map(WorkflowPatchView).collect(), page.next)
    }

    fn workflow_patch(&self, tenant: &str, patch_id: &str) -> Option<WorkflowPatchView> {
        self.house().machine.workflow_patch(tenant, patch_id).map(WorkflowPatchView)
    }

    fn arms(&self, tenant: &str, workflow: &str, tag: &str) -> Option<TagView> {
        self.house().machine.arms(tenant, workflow, tag).map(TagView)
    }
}

#[pyfunction]
fn new_run_id(partition: u16) -> PyResult<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    commands::run_id(i64::try_from(now).unwrap_or(i64::MAX), partition).map(|id| id.to_string())
}

#[pyfunction]
fn partition_of(run_id: &str) -> PyResult<u16> {
    parse_run_id(run_id).map(|id| id.partition())
}

#[pyfunction]
fn split_records<'py>(py: Python<'py>, records: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    record::split_records(records)
        .map(|bodies| bodies.into_iter().map(|body| PyBytes::new(py, body)).collect())
        .map_err(|e| errors::core("BAD_RECORD", &e.to_string()))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Turn>()?;
    module.add_class::<Capture>()?;
    module.add_class::<Machine>()?;
    module.add_function(wrap_pyfunction!(machine_limits, module)?)?;
    module.add_function(wrap_pyfunction!(new_run_id, module)?)?;
    module.add_function(wrap_pyfunction!(partition_of, module)?)?;
    module.add_function(wrap_pyfunction!(split_records, module)?)
}
