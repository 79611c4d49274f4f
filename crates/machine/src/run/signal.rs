//! A run is told something: a node that waits for it is decided, else it is kept for one that will. Signals that nobody may
//! lose come with a key; a run takes one of a key.

use crate::action::{Answer, Refusal};
use crate::command::{PublishSignal, SignalRun};
use crate::error::{code, kind};
use crate::event::Event;
use crate::event::node::ToolResultReceived;
use crate::event::waiting::{SignalReceived, TimerStarted};
use crate::event::wire::{Amount, Flag, Json, Time};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::turn::refusal;
use crate::record::NONE;
use crate::run::node::{At, text_of};
use crate::run::pause::answer_of;
use crate::run::scope::View;
use crate::run::verdict::Fails;
use crate::state::Listener;
use crate::state::run::{Fault, Run};
use crate::state::symbols::Sym;
use apex_ir::expressions::{ExprError, Expression};
use apex_ir::ir::{Kind, Send};
use apex_ir::value::{self, ValueLimits};
use std::sync::Arc;

/// A signal, checked.
pub(crate) struct Signal<'s> {
    pub(crate) name: &'s str,
    pub(crate) payload: &'s [u8],
    pub(crate) key: &'s str,
    pub(crate) by: &'s str,
}

/// An event for all runs of a tenant that wait for it, on its way through them.
#[derive(Debug)]
pub(crate) struct Published {
    token: u64,
    tenant: Option<Sym>,
    command: Arc<PublishSignal>,
    /// The last run that was looked at.
    after: Option<RunId>,
    runs: u64,
}

/// `{"payload": …, "timed_out": …}`
fn output_of(payload: &[u8], timed_out: bool) -> Vec<u8> {
    let mut output = b"{\"payload\":".to_vec();
    output.extend_from_slice(payload);
    output.extend_from_slice(format!(",\"timed_out\":{timed_out}}}").as_bytes());
    output
}

impl Machine {
    /// Takes a signal. One of a key that the run took before gives the same answer again.
    pub(crate) fn signal_run(&mut self, token: u64, command: &SignalRun) {
        let outcome = self.try_signal(command);
        self.reply_and_visit(token, outcome);
    }

    fn try_signal(&mut self, command: &SignalRun) -> Result<(u32, Answer), Refusal> {
        let slot = self.open_run(&command.tenant, &command.run_id)?;
        self.check_signal(&command.name, &command.payload, &command.idempotency_key, &command.by)?;
        self.hand(command.run_id);
        let payload = if command.payload.is_empty() { b"null" } else { &*command.payload };
        let (name, key, by) = (&*command.name, &*command.idempotency_key, &*command.by);
        let answer = self.signal(slot, &Signal { name, payload, key, by })?;
        Ok((slot, answer))
    }

    fn check_signal(&self, name: &str, payload: &[u8], key: &str, by: &str) -> Result<(), Refusal> {
        for (what, name) in [("the name of a signal", name), ("idempotency_key", key), ("by", by)] {
            self.check_name(what, name)?;
        }
        if name.is_empty() {
            return Err(refusal(code::VALUE_INVALID, "a signal has a name"));
        }
        if payload.is_empty() {
            return Ok(());
        }
        let limits = ValueLimits { bytes_max: self.config.limits.inputs_bytes_max, ..ValueLimits::default() };
        value::check(payload, &limits)
            .map_err(|error| refusal(code::VALUE_INVALID, format!("the payload is no value: {}", error.message)))
    }

    /// Records a signal of an open run.
    pub(crate) fn signal(&mut self, slot: u32, signal: &Signal<'_>) -> Result<Answer, Refusal> {
        let gone = || refusal(code::RUN_ENDED, "the run has ended");
        let program = self.ready(slot).ok_or_else(gone)?;
        let run = self.state.run(slot).ok_or_else(gone)?;
        if let Some(extra) = &run.extra
            && let Some(&offset) = extra.signal_keys.get(signal.key)
        {
            return Ok(Answer { offset, existing: true, ..answer_of(run) });
        }
        if run.failing.is_some() {
            let message = format!("run {} is being undone and takes no signal", run.id);
            return Err(refusal(code::WRONG_STATE, message));
        }
        let (kept, keys) = run.extra.as_ref().map_or((0, 0), |extra| (extra.signals.len(), extra.signal_keys.len()));
        let limits = &self.config.limits;
        if !signal.key.is_empty() && keys >= limits.signal_keys_max {
            let message = format!("the run remembers signal_keys_max ({}) keys of signals", limits.signal_keys_max);
            return Err(refusal(code::LIMIT_EXCEEDED, message));
        }
        if let Some((at, node_slot)) = self.listener(slot, &program, signal) {
            self.deliver(&program, at, node_slot, signal);
        } else if kept >= limits.signals_buffered_max {
            let message = format!("the run keeps signals_buffered_max ({}) signals", limits.signals_buffered_max);
            return Err(refusal(code::LIMIT_EXCEEDED, message));
        } else {
            let event = Event::SignalReceived(SignalReceived {
                name: signal.name,
                payload: Json(signal.payload),
                idempotency_key: signal.key,
                by: signal.by,
                ..SignalReceived::default()
            });
            self.emit(slot, &event, NONE);
        }
        self.state.run(slot).map(answer_of).ok_or_else(gone)
    }

    /// The node of a run that has waited longest for a signal like this.
    fn listener(&self, slot: u32, program: &Program, signal: &Signal<'_>) -> Option<(At, u32)> {
        let run = self.state.run(slot)?;
        let listeners = self.state.index.signals.get(&(run.tenant, Arc::from(signal.name)))?;
        let first = Listener { run: run.id, since: 0, scope: 0, slot: 0 };
        listeners.range(first..).take_while(|listener| listener.run == run.id).find_map(|listener| {
            let ix = program.ix(run.node(listener.scope, listener.slot)?.sym)?;
            let at = At { slot, scope: listener.scope, ix, cause: NONE };
            (!run.is_node_given_up(at.scope, listener.slot) && self.fits(program, at, signal.payload))
                .then_some((at, listener.slot))
        })
    }

    /// Whether a node that waits for signals wants one with this payload. One that its `match` fails for is not wanted: what
    /// others send must not fail the run.
    fn fits(&self, program: &Program, at: At, payload: &[u8]) -> bool {
        let Kind::Signal { matches, .. } = &program.ir.nodes[at.ix as usize].kind else { return false };
        matches.as_ref().is_none_or(|matches| self.is_match(program, at, matches, payload))
    }

    fn is_match(&self, program: &Program, at: At, matches: &Expression, payload: &[u8]) -> bool {
        let Some(run) = self.state.run(at.slot) else { return false };
        let mut view = View::new(run, program, at.scope);
        view.signal = Some(payload);
        matches.is_true(&view, &mut self.budget()).unwrap_or(false)
    }

    /// Decides the node that waited.
    fn deliver(&mut self, program: &Program, at: At, node_slot: u32, signal: &Signal<'_>) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let output = output_of(signal.payload, false);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, Ok(&output));
        let fails = verdict.fails;
        let event = Event::SignalReceived(SignalReceived {
            name: signal.name,
            payload: Json(signal.payload),
            node: &path,
            idempotency_key: signal.key,
            by: signal.by,
            output: Json(&output),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
        });
        self.emit(at.slot, &event, NONE);
        self.settle(at.slot, program, at.scope, node_slot, at.ix);
    }

    /// Begins a node that waits for a signal: one that has come before is taken.
    pub(crate) fn start_signal(&mut self, program: &Program, at: At) -> Result<(), ExprError> {
        let node = &program.ir.nodes[at.ix as usize];
        let Kind::Signal { name, timeout_ns, send, .. } = &node.kind else { return Ok(()) };
        let name = self.view(program, at, |machine, view| name.render(view, &mut machine.budget()))?;
        let name = text_of(&self.bounded(name)?);
        let max = self.config.limits.name_bytes_max;
        if name.is_empty() || name.len() > max {
            let message = format!("the name of a signal has 1 to name_bytes_max ({max}) bytes");
            let fault = Fault { kind: kind::LIMIT_EXCEEDED.into(), message: message.into() };
            self.end_node(program, at, 0, Err(fault));
            return Ok(());
        }
        if let Some(send) = send {
            return self.send_signal(program, at, &name, send);
        }
        let run = self.state.run(at.slot);
        let kept = run.iter().flat_map(|run| &run.extra).flat_map(|extra| &extra.signals);
        let taken = kept.filter(|kept| *kept.name == *name).find(|kept| self.fits(program, at, &kept.payload));
        let taken = taken.map(|kept| (kept.seq, output_of(&kept.payload, false)));
        if let Some((seq, output)) = taken {
            self.end_signal(program, at, Ok(&output), "ok", seq);
            return Ok(());
        }
        let path = self.path(at.slot, at.scope, &node.id);
        let due = timeout_ns.map_or(0, |timeout| self.now.saturating_add(timeout).max(1));
        let event = Event::TimerStarted(TimerStarted {
            node: &path,
            due: Time(due),
            timer: "signal",
            name: &name,
            ..TimerStarted::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.note_slot(at.slot, program, at.scope, touched.slot, at.ix);
        Ok(())
    }

    /// No signal came in time.
    pub(crate) fn signal_times_out(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(program) = self.ready(slot) else { return };
        let Some(node) = self.state.run(slot).and_then(|run| run.node(scope, node_slot)) else { return };
        let (cause, Some(ix)) = (node.requested_seq, program.ix(node.sym)) else { return };
        let at = At { slot, scope, ix, cause };
        let definition = &program.ir.nodes[ix as usize];
        if !matches!(definition.kind, Kind::Signal { continues: true, .. }) {
            let fault = Fault { kind: kind::SIGNAL_TIMEOUT.into(), message: "no signal came in time".into() };
            self.end_signal(&program, at, Err(&fault), "timeout", 0);
            return;
        }
        self.decide_by_time(&program, at, "signal", &output_of(b"null", true));
    }

    /// Decides a node that takes a signal of before (`seq`: its offset), or that got none.
    fn end_signal(&mut self, program: &Program, at: At, outcome: Result<&[u8], &Fault>, status: &str, seq: u64) {
        let path = self.path(at.slot, at.scope, &program.ir.nodes[at.ix as usize].id);
        let verdict = self.judge(at.slot, program, at.scope, at.ix, outcome);
        let fails = verdict.fails;
        let event = Event::ToolResultReceived(ToolResultReceived {
            node: &path,
            status,
            output: Json(outcome.unwrap_or_default()),
            error: outcome.err().map(Fault::event),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            signal: Amount(seq as i64),
            ..ToolResultReceived::default()
        });
        let touched = self.emit(at.slot, &event, at.cause);
        self.settle(at.slot, program, at.scope, touched.slot, at.ix);
    }

    /// Signals another run. Recorded there first, under a key of this node: after a crash in between it is sent again and
    /// taken once.
    fn send_signal(&mut self, program: &Program, at: At, name: &str, send: &Send) -> Result<(), ExprError> {
        let (run_id, payload) = self.view(program, at, |machine, view| {
            let run_id = send.run_id.render(view, &mut machine.budget())?;
            Ok((run_id, send.payload.render(view, &mut machine.budget())?))
        })?;
        let (run_id, payload) = (text_of(&self.bounded(run_id)?), self.bounded(payload)?);
        let Some(run) = self.state.run(at.slot) else { return Ok(()) };
        let (sender, tenant) = (run.id, self.state.symbols.name(run.tenant).clone());
        let key = format!("{sender}/{}", run.path(at.scope, &program.ir.nodes[at.ix as usize].id));
        let sent = RunId::parse(&run_id)
            .ok_or_else(|| refusal(code::RUN_NOT_FOUND, "the run_id of the signal is none"))
            .and_then(|run_id| Ok((run_id, self.open_run(&tenant, &run_id)?)))
            .and_then(|(run_id, slot)| {
                self.hand(run_id);
                let answer = self.signal(slot, &Signal { name, payload: &payload, key: &key, by: "" })?;
                self.queue(slot);
                Ok(answer.offset)
            });
        self.hand(sender);
        // A signal to itself may make the run fail, or the body that the node stands in: nothing of it begins any more.
        let is_over = |run: &Run| run.failing.is_some() || run.is_given_up(at.scope);
        if self.state.run(at.slot).is_none_or(is_over) {
            return Ok(());
        }
        let outcome = match sent {
            Ok(offset) => Ok(format!("{{\"offset\":{offset}}}").into_bytes()),
            Err(refused) => {
                let message = format!("{}: {}", refused.code, refused.message);
                Err(Fault { kind: kind::SIGNAL_REFUSED.into(), message: message.into() })
            }
        };
        self.end_node(program, at, 0, outcome);
        Ok(())
    }

    // --- to all that wait -------------------------------------------------------------------------------------------

    /// Takes an event for all runs of a tenant that wait for it; they are told in this turn and those that follow.
    pub(crate) fn publish_signal(&mut self, token: u64, command: PublishSignal) {
        let PublishSignal { name, payload, idempotency_key, by, .. } = &command;
        if let Err(refusal) = self.check_signal(name, payload, idempotency_key, by) {
            self.refuse(token, refusal);
            return;
        }
        let tenant = self.state.symbols.find(&command.tenant);
        let command = Arc::new(command);
        self.published.push_back(Published { token, tenant, command, after: None, runs: 0 });
        // Its answer comes when it has been through all runs.
        self.answered();
    }

    /// Tells one more run. `false`: there is nothing to tell.
    pub(crate) fn publish_next(&mut self) -> bool {
        let Some(published) = self.published.front() else { return false };
        let Some(run_id) = self.next_listening(published) else {
            if let Some(done) = self.published.pop_front() {
                let details = format!("{{\"runs\":{}}}", done.runs).into_bytes();
                self.answer(done.token, Answer { details, ..Answer::default() });
            }
            return true;
        };
        let Some(published) = self.published.front_mut() else { return false };
        published.after = Some(run_id);
        let command = published.command.clone();
        if self.quarantined.contains(&run_id) {
            return true;
        }
        let Some(slot) = self.state.find(&run_id) else { return true };
        self.hand(run_id);
        if self.tell(slot, &command) {
            if let Some(published) = self.published.front_mut() {
                published.runs += 1;
            }
            self.queue(slot);
        }
        true
    }

    fn next_listening(&self, published: &Published) -> Option<RunId> {
        let listeners = self.state.index.signals.get(&(published.tenant?, Arc::from(&*published.command.name)))?;
        let next = match published.after {
            None => listeners.first(),
            Some(run) => {
                let last = Listener { run, since: u64::MAX, scope: u32::MAX, slot: u32::MAX };
                listeners.range(last..).next()
            }
        };
        next.map(|listener| listener.run)
    }

    /// Whether a run takes an event: it waits for it, and has not had it.
    fn tell(&mut self, slot: u32, command: &PublishSignal) -> bool {
        let Some(program) = self.ready(slot) else { return false };
        let payload = if command.payload.is_empty() { b"null" } else { &*command.payload };
        let (key, by) = (&*command.idempotency_key, &*command.by);
        let signal = Signal { name: &command.name, payload, key, by };
        let Some(run) = self.state.run(slot) else { return false };
        let keys = run.extra.as_ref().map(|extra| &extra.signal_keys);
        let had = keys.is_some_and(|keys| keys.contains_key(key));
        let full = !key.is_empty() && keys.is_some_and(|keys| keys.len() >= self.config.limits.signal_keys_max);
        if had || full {
            return had;
        }
        let Some((at, node_slot)) = self.listener(slot, &program, &signal) else { return false };
        self.deliver(&program, at, node_slot, &signal);
        true
    }
}
