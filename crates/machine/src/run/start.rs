//! A run starts: once for a key, with what was resolved and checked.

use crate::action::{Answer, Refusal};
use crate::command::{Fidelity, StartRun};
use crate::error::code;
use crate::event::Event;
use crate::event::patch::Overlaid;
use crate::event::run::{GoalReceived, PlanGenerated, RunStarted};
use crate::event::wire::{Amount, Hash, Json, Labels, Time};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::registry::{Basis, over, unknown};
use crate::partition::turn::{listed, refusal, refused};
use crate::state::fold::priority_name;
use crate::state::logged::Logged;
use crate::state::symbols::Sym;
use crate::state::trial::Drawn;
use crate::view::RunState;
use apex_ir::value::{self, ValueLimits};
use std::sync::Arc;

/// Keys whose time is over that a start looks at to find one of its tenant.
const EXPIRED_LOOKED_AT_MAX: usize = 1_000;

impl Machine {
    /// Takes a start.
    pub(crate) fn start_run(&mut self, token: u64, command: &StartRun) {
        match self.try_start(command, None) {
            Ok(Started::Existing(answer)) => self.answer(token, answer),
            Ok(Started::New(slot)) => {
                let offset = self.state.run(slot).map_or(0, |run| run.next_seq - 1);
                let run_id = Some(command.run_id);
                let state = Some(RunState::Pending);
                self.answer(token, Answer { run_id, offset, existing: false, state, details: Vec::new() });
                self.visit_now(slot);
            }
            Err(refusal) => self.refuse(token, refusal),
        }
    }

    pub(crate) fn try_start(&mut self, command: &StartRun, origin: Option<&Origin<'_>>) -> Result<Started, Refusal> {
        self.check_start(command)?;
        if let Some(answer) = self.standing(command)? {
            return Ok(Started::Existing(answer));
        }
        let limits = &self.config.limits;
        if self.state.open_count() >= limits.runs_open_max {
            return Err(over("runs_open_max", limits.runs_open_max));
        }
        let tenant = self.state.symbols.find(&command.tenant).and_then(|sym| self.state.tenants.get(&sym));
        if tenant.is_some_and(|tenant| tenant.open >= limits.runs_open_per_tenant_max) {
            return Err(over("runs_open_per_tenant_max", limits.runs_open_per_tenant_max));
        }
        // Keys whose time is over leave with the next start; they must not be what refuses it.
        let leave = self.state.expiring.first_key_value().is_some_and(|((at, _), _)| *at <= self.now);
        if !command.idempotency_key.is_empty() && self.state.keys >= limits.idempotency_keys_max && !leave {
            return Err(over("idempotency_keys_max", limits.idempotency_keys_max));
        }
        let keys = tenant.map_or(0, |tenant| tenant.keys.len());
        let keys_max = limits.idempotency_keys_per_tenant_max;
        if !command.idempotency_key.is_empty() && keys >= keys_max && !self.has_expired_key(&command.tenant) {
            return Err(over("idempotency_keys_per_tenant_max", keys_max));
        }
        let overlay = origin.map_or(&[][..], |origin| origin.overlay);
        let (version, hash, program, drawn) = self.select_overlaid(command, overlay)?;
        program.ir.check_inputs(&command.inputs).map_err(|found| refused(code::INPUTS_INVALID, found))?;
        self.hand(command.run_id);
        let version = self.state.symbols.name(version).clone();
        if let Some(goal) = &command.goal {
            let received = Event::GoalReceived(GoalReceived { goal: &goal.text, entities: Json(&goal.entities) });
            let slot = self.emit_first(command.run_id, &command.tenant, &command.correlation, &received).run;
            let plan = Event::PlanGenerated(PlanGenerated {
                template: &goal.template,
                source: &goal.source,
                workflow: &command.workflow,
                plan: Json(&goal.plan),
            });
            self.emit(slot, &plan, 0);
        }
        let origin_run = origin.map_or_else(String::new, |origin| origin.run.to_string());
        let mut labels: Vec<(&str, &str)> = command.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        labels.sort_unstable();
        let started = Event::RunStarted(RunStarted {
            workflow: &command.workflow,
            version: &version,
            ir_hash: Hash(hash),
            inputs: Json(if command.inputs.is_empty() { b"{}" } else { &command.inputs }),
            labels: Labels(labels),
            priority: priority_name(command.priority),
            idempotency_key: &command.idempotency_key,
            request_hash: Hash(command.request_hash),
            fidelity: match command.fidelity.unwrap_or(self.config.fidelity) {
                Fidelity::Full => "",
                Fidelity::Fast => Fidelity::Fast.as_str(),
            },
            nodes_total: program.ir.graphs[0].nodes.len() as u32,
            schedule: &command.schedule,
            due: Time(program.ir.timeout_ns.map_or(0, |timeout| self.now.saturating_add(timeout).max(1))),
            origin_run: &origin_run,
            origin_from: origin.map_or("", |origin| origin.from),
            overlay: overlay.iter().map(|layer| Overlaid { operations: Json(layer) }).collect(),
            mode: origin.map_or("", |origin| if origin.freeze { "freeze" } else { "live" }),
            tag: drawn.as_ref().map_or("", |drawn| &drawn.tag),
            arm: drawn.as_ref().map_or("", |drawn| &drawn.arm),
            test: Amount(drawn.as_ref().map_or(0, |drawn| drawn.test as i64)),
            ..RunStarted::default()
        });
        let slot = match self.state.find(&command.run_id) {
            Some(slot) => self.emit(slot, &started, 1).run,
            None => self.emit_first(command.run_id, &command.tenant, &command.correlation, &started).run,
        };
        if let Some(run) = self.state.run_mut(slot) {
            run.program = Some(program);
        }
        self.tally.starts += 1;
        Ok(Started::New(slot))
    }

    /// Whether a key of the tenant leaves with the next start. Looks at some of those that leave then.
    fn has_expired_key(&self, tenant: &str) -> bool {
        let sym = self.state.symbols.find(tenant);
        let expired = self.state.expiring.iter().take_while(|((at, _), _)| *at <= self.now);
        expired.take(EXPIRED_LOOKED_AT_MAX).any(|(_, (holder, _))| Some(*holder) == sym)
    }

    /// The version that a start comes to, compiled, and the arm of its tag.
    pub(crate) fn select_program(&mut self, command: &StartRun) -> Result<Selected, Refusal> {
        let not_there = || unknown(&command.workflow, &command.selector);
        let StartRun { tenant, workflow, selector, run_id, .. } = command;
        let (version, drawn) = self.state.draw(tenant, workflow, selector, run_id).ok_or_else(not_there)?;
        let (version, hash) = (version.version, version.hash);
        let tenant = self.state.symbols.find(tenant).ok_or_else(not_there)?;
        let workflow = self.state.symbols.find(workflow).ok_or_else(not_there)?;
        let program = self.program(tenant, workflow, version).map_err(|reason| {
            refusal(code::DEFINITION_UNREADABLE, format!("the definition no longer compiles: {reason}"))
        })?;
        Ok((version, hash, program, drawn))
    }

    /// What patches make of the version that a start names.
    pub(crate) fn select_overlaid(&mut self, command: &StartRun, layers: &[Logged]) -> Result<Selected, Refusal> {
        let (version, ir_hash, program, drawn) = self.select_program(command)?;
        let (tenant, workflow) = (self.state.symbols.find(&command.tenant), self.state.symbols.find(&command.workflow));
        let (Some(tenant), Some(workflow), false) = (tenant, workflow, layers.is_empty()) else {
            return Ok((version, ir_hash, program, drawn));
        };
        let program =
            self.overlay(&Basis { tenant, workflow, version, ir_hash, layers: layers.to_vec() }).map_err(|reason| {
                let message = "the version is another one where the run was patched".into();
                listed(code::VERSION_INCOMPATIBLE, message, &[(String::new(), reason)])
            })?;
        self.programs.put(program.ir.hash, program.clone(), self.config.limits.programs_max);
        Ok((version, program.ir.hash, program, drawn))
    }

    pub(crate) fn check_start(&self, command: &StartRun) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if command.run_id == RunId::REGISTRY || command.run_id.partition() >= self.config.partitions {
            return Err(refusal(code::PARTITION_UNKNOWN, format!("run id {} is of no partition here", command.run_id)));
        }
        for (what, name) in [
            ("tenant", &command.tenant),
            ("workflow", &command.workflow),
            ("idempotency_key", &command.idempotency_key),
            ("correlation", &command.correlation),
        ] {
            self.check_name(what, name)?;
        }
        if command.labels.len() > limits.labels_max {
            return Err(over("labels_max", limits.labels_max));
        }
        for (key, value) in &command.labels {
            self.check_name("label", key)?;
            self.check_name("label", value)?;
        }
        let goal = command.goal.iter().map(|goal| goal.text.len() + goal.entities.len() + goal.plan.len());
        if command.inputs.len() + goal.sum::<usize>() > limits.inputs_bytes_max {
            return Err(over("inputs_bytes_max", limits.inputs_bytes_max));
        }
        let Some(goal) = &command.goal else { return Ok(()) };
        self.check_name("source", &goal.source)?;
        for (what, json) in [("entities", &goal.entities), ("plan", &goal.plan)] {
            let limits = ValueLimits { bytes_max: limits.inputs_bytes_max, ..ValueLimits::default() };
            if !json.is_empty() {
                value::check(json, &limits)
                    .map_err(|error| refusal(code::VALUE_INVALID, format!("{what} is no value: {}", error.message)))?;
            }
        }
        Ok(())
    }

    /// The answer where the key, or the run's id, was used before.
    pub(crate) fn standing(&self, command: &StartRun) -> Result<Option<Answer>, Refusal> {
        let tenant = self.state.symbols.find(&command.tenant);
        let key = tenant
            .filter(|_| !command.idempotency_key.is_empty())
            .and_then(|tenant| self.state.tenants.get(&tenant))
            .and_then(|tenant| tenant.keys.get(command.idempotency_key.as_str()))
            .filter(|key| key.expires > self.now);
        if let Some(key) = key {
            if key.request_hash != command.request_hash {
                let message = format!("the key {} was used for another request", command.idempotency_key);
                return Err(refusal(code::IDEMPOTENCY_KEY_REUSED, message));
            }
            let (offset, state) = match self.state.look(&key.run_id) {
                Some(run) => (run.next_seq - 1, Some(run.state())),
                None => (key.offset, self.state.ended.get(&key.run_id).map(|run| run.state())),
            };
            let run_id = Some(key.run_id);
            return Ok(Some(Answer { run_id, offset, existing: true, state, details: Vec::new() }));
        }
        if self.state.is_open(&command.run_id) || self.state.ended.contains_key(&command.run_id) {
            return Err(refusal(code::RUN_EXISTS, format!("another run has the id {}", command.run_id)));
        }
        Ok(None)
    }
}

/// A version, the hash of its program, the program, and the arm that the start came to.
pub(crate) type Selected = (Sym, [u8; 32], Arc<Program>, Option<Drawn>);

/// The run that a new one replays.
pub(crate) struct Origin<'c> {
    pub(crate) run: RunId,
    /// Instance path; empty: from the start.
    pub(crate) from: &'c str,
    pub(crate) freeze: bool,
    /// Its patches in force: the new run begins with them.
    pub(crate) overlay: &'c [Logged],
}

/// What a start came to.
pub(crate) enum Started {
    /// The slot of a new run, not visited yet.
    New(u32),
    /// The run was there before.
    Existing(Answer),
}
