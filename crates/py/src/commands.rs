//! Commands: what Python asks of the machine, as frozen classes.

use crate::errors;
use crate::jobs::priority;
use crate::patches::{ApplyPatch, ApprovePatch, PatchRule, PatchRules, RollbackPatch};
use apex_ir::ir::Priority;
use apex_ir::value::{self, ValueLimits};
use apex_machine::command::{self, Command, Outcome, Overlap, Runs, ScheduleChange, Selector, Timing};
use apex_machine::{Fidelity, RunId, partition_of_key};
use pyo3::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[pyclass(frozen, module = "apex_fast.core._core")]
struct RegisterWorkflow(command::RegisterWorkflow);

#[pymethods]
impl RegisterWorkflow {
    #[new]
    #[pyo3(signature = (tenant, canonical, tag = None))]
    fn new(tenant: String, canonical: Vec<u8>, tag: Option<String>) -> Self {
        Self(command::RegisterWorkflow { tenant, definition: canonical, tag })
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct TagWorkflow(command::TagWorkflow);

#[pymethods]
impl TagWorkflow {
    #[new]
    #[pyo3(signature = (tenant, name, version, tag, expected_version = None, arms = Vec::new()))]
    fn new(
        tenant: String,
        name: String,
        version: String,
        tag: String,
        expected_version: Option<String>,
        arms: Vec<Arm>,
    ) -> Self {
        let arm = |(version, set, share): Arm| {
            let runs = if set.is_empty() { Runs::Version(version) } else { Runs::Set(set) };
            command::Arm { runs, share }
        };
        let arms = arms.into_iter().map(arm).collect();
        Self(command::TagWorkflow { tenant, name, version, tag, expected_version, arms })
    }
}

/// (version, patch set, thousandths of the starts): one of the first two is empty.
type Arm = (String, String, u32);

#[pyclass(frozen, module = "apex_fast.core._core")]
struct PatchWorkflow(command::PatchWorkflow);

#[pymethods]
impl PatchWorkflow {
    #[new]
    #[pyo3(signature = (tenant, workflow, operations, rule, version = None, tag = None, set = "", reason = "",
        author = "", idempotency_key = "", at_once = false, approved = false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        tenant: String,
        workflow: String,
        operations: Vec<u8>,
        rule: &Bound<'_, PatchRule>,
        version: Option<String>,
        tag: Option<String>,
        set: &str,
        reason: &str,
        author: &str,
        idempotency_key: &str,
        at_once: bool,
        approved: bool,
    ) -> Self {
        let rule = &rule.get().0;
        let is_met = approved && rule.policy == command::PatchPolicy::Approve;
        Self(command::PatchWorkflow {
            tenant,
            name: workflow,
            selector: selector(version, tag),
            set: set.to_owned(),
            operations,
            reason: reason.to_owned(),
            author: author.to_owned(),
            idempotency_key: idempotency_key.to_owned(),
            policy: if is_met { command::PatchPolicy::Apply } else { rule.policy },
            grant: rule.grant.clone(),
            at_once,
        })
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct UnpatchWorkflow(command::UnpatchWorkflow);

#[pymethods]
impl UnpatchWorkflow {
    #[new]
    #[pyo3(signature = (tenant, patch_id, rule, reason = "", by = ""))]
    fn new(tenant: String, patch_id: String, rule: &Bound<'_, PatchRule>, reason: &str, by: &str) -> Self {
        let grant = rule.get().0.grant.clone();
        Self(command::UnpatchWorkflow { tenant, patch_id, reason: reason.to_owned(), by: by.to_owned(), grant })
    }
}

/// A start whose run id is made when the machine takes it.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct StartRun(command::StartRun);

#[pymethods]
impl StartRun {
    #[new]
    #[pyo3(signature = (tenant, workflow, version = None, tag = None, inputs = None, idempotency_key = "",
        correlation = "", priority = "medium", labels = None, goal = None, fidelity = ""))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        tenant: String,
        workflow: String,
        version: Option<String>,
        tag: Option<String>,
        inputs: Option<Vec<u8>>,
        idempotency_key: &str,
        correlation: &str,
        priority: &str,
        labels: Option<BTreeMap<String, String>>,
        goal: Option<Goal>,
        fidelity: &str,
    ) -> PyResult<Self> {
        let fidelity = optional_fidelity(fidelity)?;
        let priority = priority_of(priority)?;
        let selector = selector(version, tag);
        let inputs = inputs.unwrap_or_else(|| b"{}".to_vec());
        let goal = goal.map(|(text, entities, template, source, plan)| command::Goal {
            text,
            entities,
            template,
            source,
            plan,
        });
        let request_hash = if idempotency_key.is_empty() {
            [0; 32]
        } else {
            request_hash(&workflow, &selector, &inputs, goal.as_ref(), fidelity)
        };
        Ok(Self(command::StartRun {
            tenant,
            run_id: RunId::REGISTRY,
            workflow,
            selector,
            inputs,
            idempotency_key: idempotency_key.to_owned(),
            request_hash,
            correlation: correlation.to_owned(),
            priority,
            labels: labels.map(|l| l.into_iter().collect()).unwrap_or_default(),
            fidelity,
            goal,
            schedule: String::new(),
        }))
    }
    #[getter]
    fn tenant(&self) -> &str {
        &self.0.tenant
    }
    #[getter]
    fn priority(&self) -> &'static str {
        priority(self.0.priority)
    }
}

/// `full`, `fast`, or nothing said.
pub(crate) fn optional_fidelity(text: &str) -> PyResult<Option<Fidelity>> {
    match (text, Fidelity::parse(text)) {
        ("", _) => Ok(None),
        (_, None) => Err(errors::core("BAD_VALUE", &format!("fidelity {text:?} is not full or fast"))),
        (_, fidelity) => Ok(fidelity),
    }
}

fn priority_of(name: &str) -> PyResult<Priority> {
    match name {
        "low" => Ok(Priority::Low),
        "medium" => Ok(Priority::Medium),
        "high" => Ok(Priority::High),
        other => Err(errors::core("BAD_VALUE", &format!("priority {other:?} is not low, medium or high"))),
    }
}

pub(crate) fn selector(version: Option<String>, tag: Option<String>) -> Selector {
    match (version, tag) {
        (Some(version), _) => Selector::Version(version),
        (None, Some(tag)) => Selector::Tag(tag),
        (None, None) => Selector::Latest,
    }
}

/// (text, entities, template, source, plan)
type Goal = (String, Vec<u8>, String, String, Vec<u8>);

/// What makes two requests the same: everything that the client chose of what is to run, each part after its length.
/// Inputs count by their value, not by how a client happened to write it.
fn request_hash(
    workflow: &str,
    selector: &Selector,
    inputs: &[u8],
    goal: Option<&command::Goal>,
    fidelity: Option<Fidelity>,
) -> [u8; 32] {
    let canonical = value::canonical(inputs, &ValueLimits::default());
    // What is no value is refused where it is decided; here it only has to be told from other requests.
    let inputs = canonical.as_deref().unwrap_or(inputs);
    let (kind, chosen) = match selector {
        Selector::Version(v) => ("version", v.as_str()),
        Selector::Tag(t) => ("tag", t.as_str()),
        Selector::Latest => ("latest", ""),
    };
    let parts: [&[u8]; 5] = match goal {
        Some(goal) => [b"goal", goal.text.as_bytes(), b"", b"", b""],
        None => [b"run", workflow.as_bytes(), kind.as_bytes(), chosen.as_bytes(), inputs],
    };
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    if let Some(fidelity) = fidelity {
        sha.update(fidelity.as_str());
    }
    sha.finalize().into()
}

/// A start from what another run did; its id is made when the machine takes it.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct ReplayRun(command::ReplayRun);

#[pymethods]
impl ReplayRun {
    #[new]
    #[pyo3(signature = (tenant, origin, history, from_node = "", live = false, version = None, allow_writes = false,
        idempotency_key = ""))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        tenant: String,
        origin: &str,
        history: Vec<u8>,
        from_node: &str,
        live: bool,
        version: Option<String>,
        allow_writes: bool,
        idempotency_key: &str,
    ) -> PyResult<Self> {
        let origin = parse_run_id(origin)?;
        let mut sha = Sha256::new();
        let flags = [u8::from(live), u8::from(version.is_some()), u8::from(allow_writes)];
        let parts: [&[u8]; 5] =
            [b"replay", &origin.0, from_node.as_bytes(), version.as_deref().unwrap_or_default().as_bytes(), &flags];
        for part in parts {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        Ok(Self(command::ReplayRun {
            tenant,
            run_id: RunId::REGISTRY,
            origin,
            from: from_node.to_owned(),
            live,
            version,
            allow_writes,
            idempotency_key: idempotency_key.to_owned(),
            request_hash: if idempotency_key.is_empty() { [0; 32] } else { sha.finalize().into() },
            history,
        }))
    }
    #[getter]
    fn tenant(&self) -> &str {
        &self.0.tenant
    }
    /// Among starts; the run has the priority of its origin.
    #[getter]
    fn priority(&self) -> &'static str {
        "medium"
    }
}

/// The records that a replayed run needs after a crash.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct SupplyHistory(command::SupplyHistory);

#[pymethods]
impl SupplyHistory {
    #[new]
    fn new(run_id: &str, history: Vec<u8>) -> PyResult<Self> {
        Ok(Self(command::SupplyHistory { run_id: parse_run_id(run_id)?, history }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct PutSchedule(command::PutSchedule);

#[pymethods]
impl PutSchedule {
    #[new]
    #[pyo3(signature = (tenant, name, workflow, version = None, tag = None, inputs = None, cron = "", time_zone = "",
        every_ns = 0, jitter_ns = 0, overlap = "skip", catch_up_ns = 0, priority = "medium", labels = None,
        time_input = ""))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        tenant: String,
        name: String,
        workflow: String,
        version: Option<String>,
        tag: Option<String>,
        inputs: Option<Vec<u8>>,
        cron: &str,
        time_zone: &str,
        every_ns: i64,
        jitter_ns: i64,
        overlap: &str,
        catch_up_ns: i64,
        priority: &str,
        labels: Option<BTreeMap<String, String>>,
        time_input: &str,
    ) -> PyResult<Self> {
        let overlap = Overlap::parse(overlap).ok_or_else(|| {
            errors::core("BAD_VALUE", &format!("overlap {overlap:?} is not skip, buffer_one or allow"))
        })?;
        let timing = if cron.is_empty() {
            Timing::Every(every_ns)
        } else {
            Timing::Cron { expression: cron.to_owned(), time_zone: time_zone.to_owned() }
        };
        Ok(Self(command::PutSchedule {
            tenant,
            name,
            workflow,
            selector: selector(version, tag),
            inputs: inputs.unwrap_or_else(|| b"{}".to_vec()),
            timing,
            jitter_ns,
            overlap,
            catch_up_ns,
            priority: priority_of(priority)?,
            labels: labels.map(|l| l.into_iter().collect()).unwrap_or_default(),
            time_input: time_input.to_owned(),
        }))
    }
}

/// Pauses, resumes or removes a schedule.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct ChangeSchedule(command::ChangeSchedule);

#[pymethods]
impl ChangeSchedule {
    #[new]
    fn new(tenant: String, name: String, change: &str) -> PyResult<Self> {
        let change = match change {
            "pause" => ScheduleChange::Pause,
            "resume" => ScheduleChange::Resume,
            "remove" => ScheduleChange::Remove,
            other => {
                let message = format!("change {other:?} is not pause, resume or remove");
                return Err(errors::core("BAD_VALUE", &message));
            }
        };
        Ok(Self(command::ChangeSchedule { tenant, name, change }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct CancelRun(command::CancelRun);

#[pymethods]
impl CancelRun {
    #[new]
    #[pyo3(signature = (tenant, run_id, reason = "", compensate = true, by = ""))]
    fn new(tenant: String, run_id: &str, reason: &str, compensate: bool, by: &str) -> PyResult<Self> {
        let run_id = parse_run_id(run_id)?;
        Ok(Self(command::CancelRun { tenant, run_id, reason: reason.to_owned(), compensate, by: by.to_owned() }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct PauseRun(command::PauseRun);

#[pymethods]
impl PauseRun {
    #[new]
    #[pyo3(signature = (tenant, run_id, reason = "", by = ""))]
    fn new(tenant: String, run_id: &str, reason: &str, by: &str) -> PyResult<Self> {
        let run_id = parse_run_id(run_id)?;
        Ok(Self(command::PauseRun { tenant, run_id, reason: reason.to_owned(), by: by.to_owned() }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct ResumeRun(command::ResumeRun);

#[pymethods]
impl ResumeRun {
    #[new]
    #[pyo3(signature = (tenant, run_id, by = ""))]
    fn new(tenant: String, run_id: &str, by: &str) -> PyResult<Self> {
        let run_id = parse_run_id(run_id)?;
        Ok(Self(command::ResumeRun { tenant, run_id, by: by.to_owned() }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct MigrateRun(command::MigrateRun);

#[pymethods]
impl MigrateRun {
    #[new]
    #[pyo3(signature = (tenant, run_id, version = None, tag = None, by = ""))]
    fn new(tenant: String, run_id: &str, version: Option<String>, tag: Option<String>, by: &str) -> PyResult<Self> {
        let (run_id, selector) = (parse_run_id(run_id)?, selector(version, tag));
        Ok(Self(command::MigrateRun { tenant, run_id, selector, by: by.to_owned() }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct SignalRun(command::SignalRun);

#[pymethods]
impl SignalRun {
    #[new]
    #[pyo3(signature = (tenant, run_id, name, payload = None, idempotency_key = "", by = ""))]
    fn new(
        tenant: String,
        run_id: &str,
        name: String,
        payload: Option<Vec<u8>>,
        idempotency_key: &str,
        by: &str,
    ) -> PyResult<Self> {
        let (run_id, payload) = (parse_run_id(run_id)?, payload.unwrap_or_default());
        let (idempotency_key, by) = (idempotency_key.to_owned(), by.to_owned());
        Ok(Self(command::SignalRun { tenant, run_id, name, payload, idempotency_key, by }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct PublishSignal(command::PublishSignal);

#[pymethods]
impl PublishSignal {
    #[new]
    #[pyo3(signature = (tenant, name, payload = None, idempotency_key = "", by = ""))]
    fn new(tenant: String, name: String, payload: Option<Vec<u8>>, idempotency_key: &str, by: &str) -> Self {
        let (idempotency_key, by) = (idempotency_key.to_owned(), by.to_owned());
        let payload = payload.unwrap_or_default();
        Self(command::PublishSignal { tenant, name, payload, idempotency_key, by })
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct ResolveApproval(command::ResolveApproval);

#[pymethods]
impl ResolveApproval {
    #[new]
    #[pyo3(signature = (tenant, ticket, approve, reason = "", edits = None, by = ""))]
    fn new(tenant: String, ticket: String, approve: bool, reason: &str, edits: Option<Vec<u8>>, by: &str) -> Self {
        let (reason, by) = (reason.to_owned(), by.to_owned());
        Self(command::ResolveApproval { tenant, ticket, approve, reason, edits, by })
    }
}

/// The outcome of one attempt of a job.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct JobResult(command::JobResult);

impl JobResult {
    fn of(job: u64, attempt: u32, outcome: Outcome) -> Self {
        Self(command::JobResult { job, attempt, outcome })
    }
}

#[pymethods]
impl JobResult {
    #[getter]
    fn job(&self) -> u64 {
        self.0.job
    }
    #[staticmethod]
    fn ok(job: u64, attempt: u32, value: Vec<u8>) -> Self {
        Self::of(job, attempt, Outcome::Ok(value))
    }
    #[staticmethod]
    #[pyo3(signature = (job, attempt, value, operations, reason, base_epoch, rules))]
    fn patched(
        job: u64,
        attempt: u32,
        value: Vec<u8>,
        operations: Vec<u8>,
        reason: String,
        base_epoch: u32,
        rules: &Bound<'_, PatchRules>,
    ) -> Self {
        let rules = rules.get().0.clone();
        let patch = Box::new(command::ResultPatch { operations, reason, base_epoch, rules });
        Self::of(job, attempt, Outcome::Patched(value, patch))
    }
    #[staticmethod]
    #[pyo3(signature = (job, attempt, r#type, message, retryable = None))]
    fn failed(job: u64, attempt: u32, r#type: String, message: String, retryable: Option<bool>) -> Self {
        Self::of(job, attempt, Outcome::Failed { kind: r#type, message, retryable })
    }
    #[staticmethod]
    #[pyo3(signature = (job, attempt, message = ""))]
    fn timed_out(job: u64, attempt: u32, message: &str) -> Self {
        let message = message.to_owned();
        Self::of(job, attempt, Outcome::TimedOut { message })
    }
    #[staticmethod]
    #[pyo3(signature = (job, attempt, message = ""))]
    fn cancelled(job: u64, attempt: u32, message: &str) -> Self {
        let message = message.to_owned();
        Self::of(job, attempt, Outcome::Cancelled { message })
    }
}

/// A sign of life of one attempt of a job.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct Heartbeat(command::Heartbeat);

#[pymethods]
impl Heartbeat {
    #[new]
    #[pyo3(signature = (job, attempt, progress = None))]
    fn new(job: u64, attempt: u32, progress: Option<Vec<u8>>) -> Self {
        Self(command::Heartbeat { job, attempt, progress: progress.unwrap_or_default() })
    }
    #[getter]
    fn job(&self) -> u64 {
        self.0.job
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct DropDeadLetter(command::DropDeadLetter);

#[pymethods]
impl DropDeadLetter {
    #[new]
    #[pyo3(signature = (tenant, id, by = "", retried_as = ""))]
    fn new(tenant: String, id: String, by: &str, retried_as: &str) -> Self {
        Self(command::DropDeadLetter { tenant, id, by: by.to_owned(), retried_as: retried_as.to_owned() })
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct Erase(command::Erase);

#[pymethods]
impl Erase {
    #[new]
    #[pyo3(signature = (tenant, run_id = None, by = ""))]
    fn new(tenant: String, run_id: Option<&str>, by: &str) -> PyResult<Self> {
        let run_id = run_id.map(parse_run_id).transpose()?;
        Ok(Self(command::Erase { tenant, run_id, by: by.to_owned() }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
struct Tick;

#[pymethods]
impl Tick {
    #[new]
    fn new() -> Self {
        Self
    }
}

/// Makes the ids of runs. Partitions take turns; with a key, the key's hash decides.
pub(crate) struct Ids {
    partitions: u16,
    turn: u16,
}

impl Ids {
    pub(crate) fn new(partitions: u16) -> Self {
        Self { partitions, turn: 0 }
    }

    fn next(&mut self, now_ns: i64, tenant: &str, key: &str) -> PyResult<RunId> {
        let partition = if key.is_empty() {
            self.turn = (self.turn + 1) % self.partitions.max(1);
            self.turn
        } else {
            partition_of_key(tenant, key, self.partitions)
        };
        run_id(now_ns, partition)
    }
}

pub(crate) fn run_id(now_ns: i64, partition: u16) -> PyResult<RunId> {
    let random = getrandom::u64().map_err(|e| errors::core("INTERNAL", &format!("no randomness: {e}")))?;
    Ok(RunId::new_v7(u64::try_from(now_ns).unwrap_or(0) / 1_000_000, partition, random))
}

/// The machine's command in a Python object, tried in the order of how often each comes.
pub(crate) fn extract(object: &Bound<'_, PyAny>, now_ns: i64, ids: &mut Ids) -> PyResult<Command> {
    if let Ok(c) = object.cast_exact::<JobResult>() {
        return Ok(Command::JobResult(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<StartRun>() {
        let mut start = c.get().0.clone();
        start.run_id = ids.next(now_ns, &start.tenant, &start.idempotency_key)?;
        return Ok(Command::StartRun(Box::new(start)));
    }
    if object.cast_exact::<Tick>().is_ok() {
        return Ok(Command::Tick);
    }
    if let Ok(c) = object.cast_exact::<Heartbeat>() {
        return Ok(Command::Heartbeat(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<DropDeadLetter>() {
        return Ok(Command::DropDeadLetter(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<ResolveApproval>() {
        return Ok(Command::ResolveApproval(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<ReplayRun>() {
        let mut replay = c.get().0.clone();
        replay.run_id = ids.next(now_ns, &replay.tenant, &replay.idempotency_key)?;
        return Ok(Command::ReplayRun(Box::new(replay)));
    }
    if let Ok(c) = object.cast_exact::<SupplyHistory>() {
        return Ok(Command::SupplyHistory(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<CancelRun>() {
        return Ok(Command::CancelRun(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<SignalRun>() {
        return Ok(Command::SignalRun(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<PublishSignal>() {
        return Ok(Command::PublishSignal(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<PauseRun>() {
        return Ok(Command::PauseRun(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<ResumeRun>() {
        return Ok(Command::ResumeRun(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<ApplyPatch>() {
        return Ok(Command::ApplyPatch(Box::new(c.get().0.clone())));
    }
    if let Ok(c) = object.cast_exact::<PatchWorkflow>() {
        return Ok(Command::PatchWorkflow(Box::new(c.get().0.clone())));
    }
    if let Ok(c) = object.cast_exact::<UnpatchWorkflow>() {
        return Ok(Command::UnpatchWorkflow(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<ApprovePatch>() {
        return Ok(Command::ApprovePatch(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<RollbackPatch>() {
        return Ok(Command::RollbackPatch(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<MigrateRun>() {
        return Ok(Command::MigrateRun(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<RegisterWorkflow>() {
        return Ok(Command::RegisterWorkflow(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<TagWorkflow>() {
        return Ok(Command::TagWorkflow(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<PutSchedule>() {
        return Ok(Command::PutSchedule(Box::new(c.get().0.clone())));
    }
    if let Ok(c) = object.cast_exact::<ChangeSchedule>() {
        return Ok(Command::ChangeSchedule(c.get().0.clone()));
    }
    if let Ok(c) = object.cast_exact::<Erase>() {
        return Ok(Command::Erase(c.get().0.clone()));
    }
    Err(pyo3::exceptions::PyTypeError::new_err("not a command"))
}

pub(crate) fn parse_run_id(text: &str) -> PyResult<RunId> {
    RunId::parse(text).ok_or_else(|| errors::core("RUN_NOT_FOUND", &format!("{text:?} is not a run id (a UUID)")))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RegisterWorkflow>()?;
    module.add_class::<TagWorkflow>()?;
    module.add_class::<StartRun>()?;
    module.add_class::<ReplayRun>()?;
    module.add_class::<SupplyHistory>()?;
    module.add_class::<PutSchedule>()?;
    module.add_class::<ChangeSchedule>()?;
    module.add_class::<CancelRun>()?;
    module.add_class::<PauseRun>()?;
    module.add_class::<ResumeRun>()?;
    module.add_class::<MigrateRun>()?;
    module.add_class::<PatchWorkflow>()?;
    module.add_class::<UnpatchWorkflow>()?;
    module.add_class::<SignalRun>()?;
    module.add_class::<PublishSignal>()?;
    module.add_class::<ResolveApproval>()?;
    module.add_class::<JobResult>()?;
    module.add_class::<Heartbeat>()?;
    module.add_class::<DropDeadLetter>()?;
    module.add_class::<Erase>()?;
    module.add_class::<Tick>()
}
