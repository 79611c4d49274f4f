//! A run again, from a node on. The new run goes its way like any other; only where a node would begin that keeps what
//! it gave in the origin, that is recorded at once (`copied`) and nothing is asked of anybody. What is kept is looked
//! up in the records of the origin, which the caller reads from the log: they are no state, so after a crash the run
//! begins nothing before it has them again.

use crate::action::{Answer, Refusal};
use crate::command::{ReplayRun, Selector, StartRun, SupplyHistory};
use crate::error::code;
use crate::event::Event;
use crate::event::node::ToolResultReceived;
use crate::event::run::RunStarted;
use crate::event::waiting::{ApprovalResolved, TimerFired};
use crate::event::wire::Flag;
use crate::history::{self, Record};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::turn::{listed, refusal};
use crate::run::again::Again;
use crate::run::changes::{Change, Versions};
use crate::run::node::{At, NOT_NEEDED};
use crate::run::pause::unknown_run;
use crate::run::start::Origin;
use crate::run::verdict::{Fails, Verdict};
use crate::state::fold::priority;
use crate::state::logged::Logged;
use crate::state::run::{Fault, Run};
use crate::state::symbols::TextMap;
use apex_ir::ir::{Effect, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the nodes of an origin gave that are not to run again: by instance, the record that decided each.
pub(crate) type Frozen = TextMap<Box<str>, Arc<[u8]>>;

impl Run {
    /// It keeps results of another run, and does not have them: nothing begins.
    pub(crate) fn is_held(&self) -> bool {
        self.frozen.is_none() && self.keeps_results()
    }

    /// It keeps results of another run.
    pub(crate) fn keeps_results(&self) -> bool {
        self.extra.as_ref().and_then(|extra| extra.origin.as_ref()).is_some_and(|origin| origin.freeze)
    }
}

/// The records of the origin, read.
struct Past<'h> {
    records: Vec<Record<'h>>,
    /// Offset of the record with which it began to fail.
    failed_at: u64,
}

impl<'h> Past<'h> {
    fn read(bodies: &[&'h [u8]]) -> Result<Past<'h>, Refusal> {
        let unreadable = |error: history::HistoryError| refusal(code::HISTORY_INVALID, error.to_string());
        let records = history::read(bodies).map_err(unreadable)?;
        let mut past = Past { records, failed_at: u64::MAX };
        let failed_at = past.events().find(|(_, event)| match event {
            Event::RunCancelled(_) => true,
            Event::ToolResultReceived(e) => e.fails.as_ref().is_some_and(|fails| !fails.item.0),
            Event::TimerFired(e) => e.fails.as_ref().is_some_and(|fails| !fails.item.0),
            Event::ChildEnded(e) => e.fails.as_ref().is_some_and(|fails| !fails.item.0),
            Event::ApprovalResolved(e) => e.fails.as_ref().is_some_and(|fails| !fails.item.0),
            _ => false,
        });
        past.failed_at = failed_at.map_or(u64::MAX, |(record, _)| record.header.run_seq);
        Ok(past)
    }

    /// What can be read of it; a record of a type that is not known decides nothing here.
    fn events(&self) -> impl Iterator<Item = (&Record<'h>, Event<'h>)> {
        self.records.iter().filter_map(|record| {
            let Record { header, payload, .. } = *record;
            Some((record, Event::decode(header.event_type, header.event_version, payload).ok()?))
        })
    }

    fn started(&self) -> Option<RunStarted<'h>> {
        self.events().find_map(|(_, event)| match event {
            Event::RunStarted(e) => Some(e),
            _ => None,
        })
    }

    /// The version that it ran last.
    fn version(&self) -> Option<&'h str> {
        let versions = self.events().filter_map(|(_, event)| match event {
            Event::RunStarted(e) => Some(e.version),
            Event::RunMigrated(e) => Some(e.version),
            _ => None,
        });
        versions.last()
    }

    /// The patches in force at its end.
    fn overlay(&self) -> Vec<Logged> {
        let mut layers: Vec<(u32, &[u8])> = Vec::new();
        for (_, event) in self.events() {
            match event {
                Event::RunStarted(e) => layers.extend(e.overlay.iter().map(|layer| (0, layer.operations.0))),
                Event::PatchApplied(e) => layers.push((e.number, e.operations.0)),
                Event::PatchRolledBack(e) => layers.retain(|(number, _)| *number != e.number),
                _ => {}
            }
        }
        layers.into_iter().map(|(_, operations)| operations.into()).collect()
    }

    /// The instance that a record decided, where what it says came from outside and holds by itself.
    fn given<'e>(
        &self,
        record: &Record<'_>,
        event: &Event<'e>,
        requested: &BTreeSet<&str>,
        sends: impl Fn(&str) -> bool,
    ) -> Option<&'e str> {
        match event {
            Event::ToolResultReceived(e) if !e.retry.0 => {
                let is_own = record.header.run_seq <= self.failed_at;
                let is_recalled = e.error.as_ref().is_some_and(|error| error.message == NOT_NEEDED);
                let came = requested.contains(e.node) || e.fallback.0 || e.copied.0 || e.signal.0 != 0 || sends(e.node);
                (came && !is_recalled && (e.status == "ok" || is_own)).then_some(e.node)
            }
            Event::ChildEnded(e) if !e.retry.0 && !e.taken_back.0 => {
                (e.status == "ok" || record.header.run_seq <= self.failed_at).then_some(e.node)
            }
            Event::TimerFired(e) if matches!(e.timer, "" | "signal") => Some(e.node),
            Event::SignalReceived(e) if !e.node.is_empty() => Some(e.node),
            Event::ApprovalResolved(e) => Some(e.node),
            _ => None,
        }
    }
}

impl Machine {
    /// Takes a replay.
    pub(crate) fn replay_run(&mut self, token: u64, command: &ReplayRun) {
        let outcome = self.try_replay(command);
        self.reply_and_visit(token, outcome);
    }

    fn try_replay(&mut self, command: &ReplayRun) -> Result<(Option<u32>, Answer), Refusal> {
        self.check_name("from", &command.from)?;
        let bodies = crate::record::split_records(&command.history)
            .map_err(|error| refusal(code::HISTORY_INVALID, error.to_string()))?;
        let past = Past::read(&bodies)?;
        let header = past.records.first().map(|first| first.header).ok_or_else(|| unknown_run(&command.origin))?;
        if header.run_id != command.origin || header.tenant != command.tenant {
            return Err(unknown_run(&command.origin));
        }
        let started = past.started().ok_or_else(|| unknown_run(&command.origin))?;
        // What it did under a version before stands unchanged in the last one.
        let last = past.version().unwrap_or(started.version);
        let version = command.version.as_deref().unwrap_or(last);
        let selector = Selector::Version(version.to_owned());
        let start = StartRun {
            tenant: command.tenant.clone(),
            run_id: command.run_id,
            workflow: started.workflow.to_owned(),
            selector,
            inputs: started.inputs.0.to_vec(),
            idempotency_key: command.idempotency_key.clone(),
            request_hash: command.request_hash,
            correlation: header.correlation.to_owned(),
            priority: priority(started.priority),
            labels: started.labels.0.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            goal: None,
            fidelity: None,
            schedule: String::new(),
        };
        if started.fidelity == "fast" && !command.live {
            let message =
                "the run was recorded in fast fidelity, which keeps no results to go on from; live runs all again";
            return Err(refusal(code::WRONG_STATE, message));
        }
        let overlay = past.overlay();
        let origin = Origin { run: command.origin, from: &command.from, freeze: !command.live, overlay: &overlay };
        let standing = self.standing(&start)?;
        if let Some(answer) = standing {
            return Ok((None, answer));
        }
        let program = self.select_overlaid(&start, &overlay)?.2;
        let again = Again::new(&program, &command.from, command.live).ok_or_else(|| no_such_node(&command.from))?;
        let (frozen, undecided) = self.frozen_of(&past, &program, &again);
        if command.version.is_some() && !command.live {
            let selector = Selector::Version(last.to_owned());
            let old = self.select_overlaid(&StartRun { selector, ..start.clone() }, &overlay)?.2;
            let kept: BTreeSet<&str> = frozen.keys().map(|path| crate::state::run::split_path(path).1).collect();
            let versions = Versions { old: &old.ir, new: &program.ir };
            let found: Vec<Change> = kept.into_iter().flat_map(|id| versions.changes(id)).collect();
            if !found.is_empty() {
                let message = format!("version {version} is another one where the run keeps its results");
                return Err(listed(code::VERSION_INCOMPATIBLE, message, &found));
            }
        }
        if !command.allow_writes {
            let writes = self.writes(&program, &again, &past, &frozen, &undecided);
            if !writes.is_empty() {
                let message = "nodes that write would run; allow_writes lets them";
                return Err(listed(code::WRITES_NOT_ALLOWED, message.into(), &writes));
            }
        }
        let slot = match self.try_start(&start, Some(&origin))? {
            crate::run::start::Started::New(slot) => slot,
            crate::run::start::Started::Existing(answer) => return Ok((None, answer)),
        };
        if let Some(run) = self.state.run_mut(slot) {
            run.frozen = Some(Box::new(frozen));
        }
        let answer = self.state.run(slot).map_or_else(Answer::default, crate::run::pause::answer_of);
        Ok((Some(slot), answer))
    }

    /// The records of an origin, for a run that a crash left without them.
    pub(crate) fn supply_history(&mut self, command: &SupplyHistory) {
        let Some(slot) = self.state.find(&command.run_id) else { return };
        let Some(run) = self.state.run(slot).filter(|run| run.is_held()) else { return };
        let Some(from) = run.extra.as_ref().and_then(|extra| extra.origin.as_ref()).map(|origin| origin.from.clone())
        else {
            return;
        };
        self.hand(command.run_id);
        let Some(program) = self.ready(slot) else { return };
        let bodies = crate::record::split_records(&command.history).unwrap_or_default();
        let frozen = Past::read(&bodies).ok().filter(|past| !past.records.is_empty()).and_then(|past| {
            let again = Again::new(&program, &from, false)?;
            Some(self.frozen_of(&past, &program, &again).0)
        });
        match frozen {
            Some(frozen) => {
                if let Some(run) = self.state.run_mut(slot) {
                    run.frozen = Some(Box::new(frozen));
                }
                self.visit_now(slot);
            }
            None => self.give_up(slot, code::HISTORY_TRIMMED, "the records of the run that it replays are gone"),
        }
    }

    /// Runs that hold until they have the records of another one: tenant, run, the other one.
    #[must_use]
    pub fn histories_wanted(&self) -> Vec<(Arc<str>, RunId, RunId)> {
        let (awake, _) = self.state.open_runs();
        let mut wanted: Vec<_> = awake
            .into_iter()
            .filter_map(|(_, slot)| self.state.run(slot))
            .filter(|run| run.is_held() && run.failing.is_none())
            .filter_map(|run| {
                let origin = run.extra.as_ref()?.origin.as_ref()?.run;
                Some((self.state.symbols.name(run.tenant).clone(), run.id, origin))
            })
            .collect();
        wanted.sort_unstable();
        wanted
    }

    /// What is kept; and the instances that were requested and have nothing to keep.
    fn frozen_of<'h>(&self, past: &Past<'h>, program: &Program, again: &Again) -> (Frozen, BTreeSet<&'h str>) {
        // A signal that was sent is not sent again.
        let sends = |path: &str| {
            let node = program.ir.node(crate::state::run::split_path(path).1);
            node.is_some_and(|ix| matches!(program.ir.nodes[ix as usize].kind, Kind::Signal { send: Some(_), .. }))
        };
        let mut frozen = Frozen::default();
        let mut requested = BTreeSet::new();
        for (record, event) in past.events() {
            match &event {
                Event::ToolCallRequested(e) => _ = requested.insert(e.node),
                Event::ChildStarted(e) => _ = requested.insert(e.node),
                Event::TimerStarted(e) => _ = requested.insert(e.node),
                Event::ApprovalRequested(e) => _ = requested.insert(e.node),
                _ => {}
            }
            if let Some(path) = past.given(record, &event, &requested, sends)
                && !again.runs(program, path)
            {
                frozen.insert(path.into(), record.body.into());
            }
        }
        requested.retain(|path| !frozen.contains_key(*path));
        (frozen, requested)
    }

    /// Places of nodes that write and may run: those that run again, and those that never came to an end.
    fn writes(
        &self,
        program: &Program,
        again: &Again,
        past: &Past<'_>,
        frozen: &Frozen,
        undecided: &BTreeSet<&str>,
    ) -> Vec<(String, String)> {
        let mut ended: BTreeSet<&str> = BTreeSet::new();
        for (_, event) in past.events() {
            match event {
                Event::NodeSkipped(e) => _ = ended.insert(e.node),
                Event::ToolResultReceived(e) if e.status == "ok" => _ = ended.insert(e.node),
                _ => {}
            }
        }
        let open: BTreeSet<&str> = undecided.iter().map(|path| crate::state::run::split_path(path).1).collect();
        let mut found = Vec::new();
        for (ix, node) in (0u32..).zip(&program.ir.nodes) {
            let is_job = matches!(
                node.kind,
                Kind::Function { .. } | Kind::Http(_) | Kind::Agent { .. } | Kind::Composite { .. }
            );
            if !is_job || node.effect != Effect::Write {
                continue;
            }
            let root = &*program.ir.nodes[program.root_of(ix) as usize].id;
            let is_done = (frozen.contains_key(root) || ended.contains(root)) && !open.contains(&*node.id);
            if again.may_run(program, ix) || !is_done {
                found.push((program.ir.pointer_of(node), format!("{} writes, and would run", node.id)));
            }
        }
        found
    }

    /// What this instance gave in the origin, where that is kept.
    pub(crate) fn frozen_answer(&self, program: &Program, at: At) -> Option<Arc<[u8]>> {
        let run = self.state.run(at.slot)?;
        let frozen = run.frozen.as_ref().filter(|frozen| !frozen.is_empty())?;
        frozen.get(&*run.path(at.scope, &program.ir.nodes[at.ix as usize].id)).cloned()
    }

    /// Records once more what an instance gave in the origin. What follows from it is judged by this run's graph.
    pub(crate) fn repeat(&mut self, program: &Program, at: At, body: &[u8]) {
        let Ok((header, payload)) = crate::record::Header::split(body) else { return };
        let Ok(event) = Event::decode(header.event_type, header.event_version, payload) else { return };
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let ticket = self.state.run(at.slot).map_or_else(String::new, |run| format!("{}~{path}", run.id));
        // An outcome that is not of a time or a person stands here as a result: no child is started, no signal waited for.
        let (attempt, status, output, error) = match &event {
            Event::ToolResultReceived(e) => (e.attempt, e.status, e.output, e.error.clone()),
            Event::ChildEnded(e) => (e.attempt, e.status, e.output, e.error.clone()),
            Event::SignalReceived(e) => (0, "ok", e.output, None),
            Event::TimerFired(e) => (0, "ok", e.output, None),
            Event::ApprovalResolved(e) => (0, "ok", e.output, None),
            _ => return,
        };
        let fault = error.as_ref().map(|error| Fault { kind: error.r#type.into(), message: error.message.into() });
        let outcome = fault.as_ref().map_or(Ok(output.0), Err);
        let Verdict { dead, kept_all, kept, fails, .. } = self.judge(at.slot, program, at.scope, at.ix, outcome);
        let (node, kept_all, copied) = (path.as_ref(), Flag(kept_all), Flag(true));
        let fails = fails.as_ref().map(Fails::event);
        let again = match event {
            Event::TimerFired(e) if e.timer.is_empty() => {
                Event::TimerFired(TimerFired { node, dead, kept_all, kept, fails, copied, ..e })
            }
            Event::ApprovalResolved(e) => {
                let ticket = &ticket;
                Event::ApprovalResolved(ApprovalResolved { node, ticket, dead, kept_all, kept, fails, copied, ..e })
            }
            _ => Event::ToolResultReceived(ToolResultReceived {
                node,
                attempt,
                status,
                output,
                error,
                dead,
                kept_all,
                kept,
                fails,
                copied,
                ..ToolResultReceived::default()
            }),
        };
        let touched = self.emit(at.slot, &again, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }
}

fn no_such_node(from: &str) -> Refusal {
    refusal(code::NODE_NOT_FOUND, format!("there is no node {from} in this version of the workflow"))
}
