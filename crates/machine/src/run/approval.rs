//! A person decides, or nobody does in time.

use crate::action::{Answer, Refusal};
use crate::command::ResolveApproval;
use crate::error::{code, kind};
use crate::event::Event;
use crate::event::waiting::{ApprovalEscalated, ApprovalResolved};
use crate::event::wire::{Flag, Json, write_json_str};
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::turn::refusal;
use crate::record::NONE;
use crate::run::node::At;
use crate::run::verdict::Fails;
use crate::state::fold::find_scope;
use crate::state::run::{Fault, Status, Wait, split_path};
use apex_ir::ir::{Kind, OnTimeout};
use apex_ir::value::{self, ValueLimits};

/// What was decided, and by whom.
pub(crate) struct Resolution<'c> {
    pub(crate) approve: bool,
    pub(crate) reason: &'c str,
    pub(crate) by: &'c str,
    pub(crate) edits: Option<&'c [u8]>,
    pub(crate) timed_out: bool,
}

impl Machine {
    /// Takes a decision. The same one again gets the same answer.
    pub(crate) fn resolve_approval(&mut self, token: u64, command: &ResolveApproval) {
        let outcome = self.try_resolve(command);
        self.reply_and_visit(token, outcome);
    }

    fn try_resolve(&mut self, command: &ResolveApproval) -> Result<(u32, Answer), Refusal> {
        let shown_max = self.config.limits.name_bytes_max;
        let not_found = || {
            let shown: String = command.ticket.chars().take(shown_max).collect();
            refusal(code::TICKET_NOT_FOUND, format!("there is no ticket {shown}"))
        };
        let (run_id, path) = command.ticket.split_once('~').ok_or_else(not_found)?;
        let run_id = RunId::parse(run_id).ok_or_else(not_found)?;
        let tenant = self.state.symbols.find(&command.tenant).ok_or_else(not_found)?;
        let Some(slot) = self.state.find(&run_id) else {
            return match self.state.ended.get(&run_id) {
                Some(run) if run.tenant == tenant => {
                    Err(refusal(code::TICKET_RESOLVED, format!("the run of ticket {} has ended", command.ticket)))
                }
                _ => Err(not_found()),
            };
        };
        self.state.run(slot).filter(|run| run.tenant == tenant).ok_or_else(not_found)?;
        self.refuse_quarantined(&run_id)?;
        // What the node is stands in the definition, also where nobody has looked at the run since a recovery.
        let program = self.ready(slot).ok_or_else(not_found)?;
        let run = self.state.run(slot).ok_or_else(not_found)?;
        let (scope_path, id) = split_path(path);
        let scope = find_scope(run, &self.state.symbols, scope_path).ok_or_else(not_found)?;
        let sym = self.state.symbols.find(id).ok_or_else(not_found)?;
        let node_slot = run.scope(scope).and_then(|scope| scope.find(sym)).ok_or_else(not_found)?;
        let node = run.node(scope, node_slot).ok_or_else(not_found)?;
        if !matches!(node.wait, Wait::Approval(_)) {
            let kind = program.ix(sym).map(|ix| &program.ir.nodes[ix as usize].kind);
            let is_approval = matches!(kind, Some(Kind::Approval(_)));
            if !is_approval {
                return Err(not_found());
            }
            let decided = if command.approve { 1 } else { 2 };
            if node.status == Status::Ok && node.attempt == decided {
                let answer = Answer {
                    run_id: Some(run_id),
                    offset: run.next_seq - 1,
                    existing: true,
                    state: Some(run.state()),
                    details: Vec::new(),
                };
                return Ok((slot, answer));
            }
            return Err(refusal(code::TICKET_RESOLVED, format!("ticket {} is decided already", command.ticket)));
        }
        self.check_name("by", &command.by)?;
        self.check_text("reason", &command.reason)?;
        if let Some(edits) = &command.edits {
            let limits = ValueLimits { bytes_max: self.config.limits.inputs_bytes_max, ..ValueLimits::default() };
            value::check(edits, &limits)
                .map_err(|error| refusal(code::VALUE_INVALID, format!("edits are no value: {}", error.message)))?;
        }
        self.hand(run_id);
        self.resolve(
            slot,
            scope,
            node_slot,
            &Resolution {
                approve: command.approve,
                reason: &command.reason,
                by: &command.by,
                edits: command.edits.as_deref(),
                timed_out: false,
            },
        );
        let run = self.state.run(slot).ok_or_else(not_found)?;
        let answer = Answer {
            run_id: Some(run_id),
            offset: run.next_seq - 1,
            existing: false,
            state: Some(run.state()),
            details: Vec::new(),
        };
        Ok((slot, answer))
    }

    /// Nobody has decided for a while: others are asked as well.
    pub(crate) fn escalate(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let (cause, Some(ix)) = (node.requested_seq, program.ix(node.sym)) else { return };
        let definition = &program.ir.nodes[ix as usize];
        let Kind::Approval(approval) = &definition.kind else { return };
        let path = run.path(scope, &definition.id);
        let ticket = format!("{}~{path}", run.id);
        let to = approval.escalate_to.iter().map(AsRef::as_ref).collect();
        self.emit(slot, &Event::ApprovalEscalated(ApprovalEscalated { node: &path, ticket: &ticket, to }), cause);
    }

    /// Nobody decided in time.
    pub(crate) fn approval_times_out(&mut self, slot: u32, scope: u32, node_slot: u32) {
        let Some(program) = self.ready(slot) else { return };
        let Some(node) = self.state.run(slot).and_then(|run| run.node(scope, node_slot)) else { return };
        let (requested, Some(ix)) = (node.requested_seq, program.ix(node.sym)) else { return };
        let Kind::Approval(approval) = &program.ir.nodes[ix as usize].kind else { return };
        let approve = match approval.on_timeout {
            OnTimeout::Approve => true,
            OnTimeout::Reject => false,
            OnTimeout::Fail => {
                let fault = Fault { kind: kind::APPROVAL_TIMEOUT.into(), message: "nobody decided in time".into() };
                let verdict = self.judge(slot, &program, scope, ix, Err(&fault));
                let fails = verdict.fails;
                let path = self.path(slot, scope, &program.ir.nodes[ix as usize].id);
                let event = Event::ToolResultReceived(crate::event::node::ToolResultReceived {
                    node: &path,
                    status: "timeout",
                    error: Some(fault.event()),
                    dead: verdict.dead,
                    fails: fails.as_ref().map(Fails::event),
                    ..Default::default()
                });
                let touched = self.emit(slot, &event, requested);
                self.settle(slot, &program, scope, touched.slot, ix);
                return;
            }
        };
        self.resolve(
            slot,
            scope,
            node_slot,
            &Resolution { approve, reason: "nobody decided in time", by: "", edits: None, timed_out: true },
        );
    }

    /// Records a decision; the node is decided by it.
    pub(crate) fn resolve(&mut self, slot: u32, scope: u32, node_slot: u32, resolution: &Resolution<'_>) {
        let Some(program) = self.ready(slot) else { return };
        let Some(run) = self.state.run(slot) else { return };
        let Some(node) = run.node(scope, node_slot) else { return };
        let Some(ix) = program.ix(node.sym) else { return };
        let cause = if resolution.timed_out { node.requested_seq } else { NONE };
        let at = At { slot, scope, ix, cause };
        let path = run.path(scope, &program.ir.nodes[ix as usize].id);
        let ticket = format!("{}~{path}", run.id);
        let decision = if resolution.approve { "approve" } else { "reject" };
        let mut output =
            format!("{{\"approved\":{},\"decision\":\"{decision}\",\"reason\":", resolution.approve).into_bytes();
        write_json_str(resolution.reason, &mut output);
        output.extend_from_slice(b",\"by\":");
        write_json_str(resolution.by, &mut output);
        output.extend_from_slice(b",\"edits\":");
        output.extend_from_slice(resolution.edits.unwrap_or(b"null"));
        output.extend_from_slice(format!(",\"timed_out\":{}}}", resolution.timed_out).as_bytes());
        let verdict = self.judge(slot, &program, scope, ix, Ok(&output));
        let fails = verdict.fails;
        let event = Event::ApprovalResolved(ApprovalResolved {
            node: &path,
            ticket: &ticket,
            decision,
            reason: resolution.reason,
            by: resolution.by,
            edits: Json(resolution.edits.unwrap_or_default()),
            timed_out: resolution.timed_out,
            output: Json(&output),
            dead: verdict.dead,
            kept_all: Flag(verdict.kept_all),
            kept: verdict.kept,
            fails: fails.as_ref().map(Fails::event),
            copied: Flag(false),
        });
        let touched = self.emit(slot, &event, cause);
        self.settle(at.slot, &program, scope, touched.slot, ix);
    }
}
