//! What readers ask. Everything is looked up within a tenant; a run of another one is not there.

use crate::command::{Fidelity, Selector};
use crate::error::code;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::machine::Machine;
use crate::state::run::{EndedRun, PatchRecord, Run, RunError, Wait};
use crate::state::symbols::Sym;
use crate::state::trial::Drawn;
use crate::state::{Ticket, Version, Workflow};
use crate::view::{ApprovalView, Counts, Page, RunFilter, RunState, RunView, WorkflowView};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Instances named in a view.
const PHASE_MAX: usize = 8;

impl Run {
    /// Where it stands.
    pub(crate) fn state(&self) -> RunState {
        if self.is_paused() {
            RunState::Paused
        } else if self.failing.is_some() {
            RunState::Compensating
        } else if self.in_flight > 0 {
            RunState::Running
        } else if self.waiting > 0 {
            RunState::Waiting
        } else if self.requested {
            RunState::Running
        } else {
            RunState::Pending
        }
    }
}

fn places(records: &[PatchRecord]) -> Vec<(u32, u64, u64)> {
    records.iter().map(|record| (record.number, record.offset, record.position)).collect()
}

impl EndedRun {
    /// How it ended.
    pub(crate) fn state(&self) -> RunState {
        match &self.error {
            None => RunState::Completed,
            Some(error) if &*error.code == code::CANCELLED => RunState::Cancelled,
            Some(_) => RunState::Failed,
        }
    }
}

fn fidelity(fast: bool) -> Fidelity {
    if fast { Fidelity::Fast } else { Fidelity::Full }
}

fn error_json(error: &RunError) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, text) in [
        ("{\"code\":", &error.code),
        (",\"type\":", &error.kind),
        (",\"message\":", &error.message),
        (",\"node\":", &error.node),
    ] {
        out.extend_from_slice(name.as_bytes());
        write_json_str(text, &mut out);
    }
    out.push(b'}');
    out
}

fn owned(labels: &[(Box<str>, Box<str>)]) -> Vec<(String, String)> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn drawn(drawn: &Drawn) -> (String, String) {
    (drawn.tag.to_string(), drawn.arm.to_string())
}

impl Machine {
    /// A run of this tenant.
    #[must_use]
    pub fn run(&self, tenant: &str, run_id: &RunId) -> Option<RunView> {
        let tenant = self.state.symbols.find(tenant)?;
        self.run_of(tenant, run_id)
    }

    fn run_of(&self, tenant: Sym, run_id: &RunId) -> Option<RunView> {
        let name = |sym| self.state.symbols.name(sym).clone();
        if let Some(run) = self.state.look(run_id) {
            if run.tenant != tenant {
                return None;
            }
            return Some(RunView {
                run_id: *run_id,
                tenant: name(run.tenant),
                workflow: name(run.workflow),
                version: name(run.version),
                ir_hash: run.ir_hash,
                state: run.state(),
                started_ns: run.started_ns,
                ended_ns: None,
                offset: run.next_seq - 1,
                head: run.head,
                nodes_done: run.nodes_done,
                nodes_total: run.nodes_total,
                phase: self.phase(&run),
                error: run.failing.as_ref().map(|failing| error_json(&failing.error)),
                correlation: run.correlation.to_string(),
                labels: owned(&run.labels),
                priority: run.priority,
                epoch: run.epoch,
                patches: run.next_patch() - 1,
                patch_records: places(run.patch_records()),
                fidelity: fidelity(run.fast),
                goal: run.goal.as_deref().map(str::to_owned),
                parent_run: run.parent().map(|parent| parent.run),
                parent_node: run.parent().map(|parent| parent.node.to_string()),
                drawn: run.extra.as_ref().and_then(|extra| extra.drawn.as_ref()).map(drawn),
                quarantined: self.quarantined.contains(run_id),
            });
        }
        let run = self.state.ended.get(run_id).filter(|run| run.tenant == tenant)?;
        Some(RunView {
            run_id: *run_id,
            tenant: name(run.tenant),
            workflow: name(run.workflow),
            version: name(run.version),
            ir_hash: run.ir_hash,
            state: run.state(),
            started_ns: run.started_ns,
            ended_ns: Some(run.ended_ns),
            offset: run.offset,
            head: run.head,
            nodes_done: run.nodes_done,
            nodes_total: run.nodes_total,
            phase: Vec::new(),
            error: run.error.as_deref().map(error_json),
            correlation: run.correlation.to_string(),
            labels: owned(&run.labels),
            priority: run.priority,
            epoch: run.epoch,
            patches: run.patches.as_ref().map_or(0, |patches| patches.count),
            patch_records: run.patches.as_ref().map_or_else(Vec::new, |patches| places(&patches.records)),
            fidelity: fidelity(run.fast),
            goal: run.goal.as_deref().map(str::to_owned),
            parent_run: run.parent.as_ref().map(|parent| parent.run),
            parent_node: run.parent.as_ref().map(|parent| parent.node.to_string()),
            drawn: run.drawn.as_deref().map(drawn),
            quarantined: false,
        })
    }

    fn phase(&self, run: &Run) -> Vec<String> {
        let mut phase = Vec::new();
        // As soon as all that it waits for is found, the rest (of a fan of 100,000, say) is not looked through.
        let most = PHASE_MAX.min((run.in_flight + run.waiting) as usize);
        if most == 0 || run.failing.as_ref().is_some_and(|failing| failing.steps.is_some()) {
            return phase;
        }
        for (scope_ix, scope) in run.scopes.iter().enumerate() {
            for node in scope.iter().flat_map(|scope| &scope.nodes) {
                if !matches!(node.wait, Wait::Nothing | Wait::Map(_) | Wait::Loop(_)) {
                    phase.push(run.path(scope_ix as u32, self.state.symbols.name(node.sym)).into_owned());
                    if phase.len() == most {
                        return phase;
                    }
                }
            }
        }
        phase
    }

    /// Runs of a tenant, newest first. `page`: what the page before gave as `next`; one that is none gives an empty
    /// page. A page may be short (even empty) and still have a next one, where the filter is rare.
    #[must_use]
    pub fn runs(&self, tenant: &str, filter: &RunFilter, limit: usize, page: &str) -> Page<RunView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        // The id of a child carries the time of its parent: only runs of that time are looked through.
        let beside = |later| filter.parent.map(|parent| RunId::new_v7(parent.unix_ms() + later, 0, 0));
        let before = match page {
            "" => beside(1).map_or(Bound::Unbounded, Bound::Excluded),
            page => match RunId::parse(page) {
                Some(id) if beside(0).is_none_or(|first| first < id) => Bound::Excluded(id),
                _ => return found,
            },
        };
        let from = beside(0).map_or(Bound::Unbounded, Bound::Included);
        let Some((sym, tenant)) =
            self.state.symbols.find(tenant).and_then(|sym| Some((sym, self.state.tenants.get(&sym)?)))
        else {
            return found;
        };
        let mut ids = tenant.runs.range((from, before)).rev();
        for _ in 0..self.config.limits.list_scan_max {
            let Some(id) = ids.next() else { return found };
            if self.is_wanted(id, filter)
                && let Some(view) = self.run_of(sym, id)
            {
                found.items.push(view);
            }
            if found.items.len() >= limit.max(1) {
                break;
            }
            found.next = id.to_string();
        }
        found.next = match (ids.next(), found.items.last()) {
            (None, _) => String::new(),
            (Some(_), Some(last)) if found.items.len() >= limit.max(1) => last.run_id.to_string(),
            (Some(_), _) => found.next,
        };
        found
    }

    fn is_wanted(&self, id: &RunId, filter: &RunFilter) -> bool {
        let open = self.state.look(id);
        let (state, workflow, version, labels, started_ns, parent) = match (&open, self.state.ended.get(id)) {
            (Some(run), _) => (run.state(), run.workflow, run.version, &run.labels, run.started_ns, run.parent()),
            (None, Some(run)) => {
                (run.state(), run.workflow, run.version, &run.labels, run.started_ns, run.parent.as_deref())
            }
            (None, None) => return false,
        };
        let is = |sym: Sym, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| **self.state.symbols.name(sym) == **wanted)
        };
        (filter.states.is_empty() || filter.states.contains(&state))
            && filter.parent.is_none_or(|wanted| parent.is_some_and(|parent| parent.run == wanted))
            && is(workflow, &filter.workflow)
            && is(version, &filter.version)
            && filter.started_after_ns.is_none_or(|after| started_ns >= after)
            && filter.started_before_ns.is_none_or(|before| started_ns < before)
            && filter.labels.iter().all(|(key, value)| labels.iter().any(|(k, v)| **k == **key && **v == **value))
    }

    /// Open approvals of a tenant, oldest first; of one run where `run_id` is given. `page` as for `runs`.
    #[must_use]
    pub fn approvals(&self, tenant: &str, run_id: Option<&RunId>, limit: usize, page: &str) -> Page<ApprovalView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        let Some(tenant) = self.state.symbols.find(tenant) else { return found };
        let first = Ticket { tenant, requested_ns: i64::MIN, run: RunId::REGISTRY, scope: 0, slot: 0 };
        let last = Ticket { tenant, requested_ns: i64::MAX, run: RunId([0xff; 16]), scope: u32::MAX, slot: u32::MAX };
        let from = match page {
            "" => Bound::Included(first),
            page => match parse_page(page, tenant) {
                Some(ticket) => Bound::Excluded(ticket),
                None => return found,
            },
        };
        let tickets = (from, Bound::Included(last));
        let of_run: Vec<Ticket> = match run_id {
            // A run is looked through, not the tenant.
            Some(run_id) => {
                self.tickets_of(tenant, run_id).into_iter().filter(|ticket| tickets.contains(ticket)).collect()
            }
            None => Vec::new(),
        };
        let all = (run_id.is_none()).then(|| self.state.index.approvals.range(tickets));
        for ticket in all.into_iter().flatten().chain(&of_run) {
            if found.items.len() >= limit.max(1) {
                return found;
            }
            if let Some(view) = self.approval(ticket) {
                found.items.push(view);
                found.next = format!("{}:{}:{}:{}", ticket.requested_ns, ticket.run, ticket.scope, ticket.slot);
            }
        }
        found.next.clear();
        found
    }

    /// The open approvals of a run, oldest first.
    fn tickets_of(&self, tenant: Sym, run_id: &RunId) -> Vec<Ticket> {
        let run = self.state.look(run_id);
        let mut tickets: Vec<Ticket> = Vec::new();
        if let Some(run) = run.filter(|run| run.tenant == tenant && run.waiting > 0) {
            for (scope, state) in run.scopes.iter().enumerate() {
                for (slot, node) in state.iter().flat_map(|state| state.nodes.iter().enumerate()) {
                    let Wait::Approval(asked) = &node.wait else { continue };
                    let (scope, slot, requested_ns) = (scope as u32, slot as u32, asked.requested_ns);
                    tickets.push(Ticket { tenant, requested_ns, run: run.id, scope, slot });
                }
            }
        }
        tickets.sort_unstable();
        tickets
    }

    fn approval(&self, ticket: &Ticket) -> Option<ApprovalView> {
        let run = self.state.look(&ticket.run)?;
        let node = run.node(ticket.scope, ticket.slot)?;
        let Wait::Approval(asked) = &node.wait else { return None };
        let path = run.path(ticket.scope, self.state.symbols.name(node.sym)).into_owned();
        Some(ApprovalView {
            ticket: format!("{}~{path}", run.id),
            run_id: run.id,
            node: path,
            prompt: asked.prompt.to_string(),
            requested_ns: asked.requested_ns,
            due_ns: (asked.due != 0).then_some(asked.due),
            escalated_to: asked.escalated_to.iter().map(ToString::to_string).collect(),
            tenant: self.state.symbols.name(run.tenant).clone(),
            workflow: self.state.symbols.name(run.workflow).clone(),
            version: self.state.symbols.name(run.version).clone(),
        })
    }

    /// Versions of a tenant's workflows: by name, newest registration first; derived ones without the list of their patches.
    #[must_use]
    pub fn workflows(&self, tenant: &str) -> Vec<WorkflowView> {
        let tenant = self.state.symbols.find(tenant).and_then(|sym| self.state.tenants.get(&sym));
        let mut views: Vec<WorkflowView> = Vec::new();
        for (&name, workflow) in tenant.iter().flat_map(|tenant| &tenant.workflows) {
            views.extend(
                workflow.versions.iter().rev().map(|version| self.workflow_view(name, workflow, version, false)),
            );
        }
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// One version of a workflow.
    #[must_use]
    pub fn workflow(&self, tenant: &str, name: &str, selector: &Selector) -> Option<WorkflowView> {
        let version = self.state.select(tenant, name, selector)?;
        let workflow = self.state.workflow(tenant, name)?;
        Some(self.workflow_view(self.state.symbols.find(name)?, workflow, version, true))
    }

    fn workflow_view(&self, name: Sym, workflow: &Workflow, version: &Version, whole: bool) -> WorkflowView {
        let text = |sym| -> Arc<str> { self.state.symbols.name(sym).clone() };
        let tags = workflow.tags.iter().filter(|(_, at)| **at == version.version).map(|(tag, _)| tag.to_string());
        WorkflowView {
            name: text(name),
            version: text(version.version),
            hash: version.hash,
            tags: tags.collect(),
            registered_ns: version.registered_ns,
            definition: version.definition.clone(),
            derived: self.state.derived(self.state.symbols.name(name), workflow, version, whole),
        }
    }

    /// Ids of all open runs, in any order.
    #[must_use]
    pub fn open_runs(&self) -> Vec<RunId> {
        self.state.open_ids()
    }

    /// When an open run was started; `None` if it is none.
    #[must_use]
    pub fn started_ns(&self, id: &RunId) -> Option<i64> {
        self.state.look(id).map(|run| run.started_ns)
    }

    /// When the first one of the runs was started that ended at `ended_ns` or later; `ended_ns` where none did.
    #[must_use]
    pub fn first_start_of_ended(&self, ended_ns: i64) -> i64 {
        let late = self.state.ended.values().filter(|run| run.ended_ns >= ended_ns);
        late.map(|run| run.started_ns).fold(ended_ns, i64::min)
    }

    /// Gauges.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            runs_open: self.state.open_count() as u64,
            runs_resting: self.state.resting_count() as u64,
            runs_ended: self.state.ended.len() as u64,
            jobs_in_flight: self.jobs.len() as u64,
            timers: self.state.index.timers.len() as u64,
            approvals: self.state.index.approvals.len() as u64,
            workflows: self.state.registry.versions as u64,
            schedules: self.state.tenants.values().map(|tenant| tenant.schedules.len() as u64).sum(),
            idempotency_keys: self.state.keys as u64,
            commands_waiting: self.inbox.len() as u64,
            runs_with_backlog: self.backlog_len() as u64,
            programs_cached: self.programs.len() as u64,
            replies_waiting: self.actions.len() as u64,
            runs_quarantined: self.quarantined.len() as u64,
            dead_letters: self.state.letters.order.len() as u64,
            dead_letters_pushed_out: self.state.letters.pushed_out,
            breakers: self.state.breakers.count as u64,
            starts: self.tally.starts,
            retries: self.tally.retries,
            compensations: self.tally.compensations,
            breaker_changes: self.tally.breaker_changes,
            migrations: self.tally.migrations,
            patches: self.tally.applied(),
            rollbacks: self.tally.rollbacks,
            workflow_patches_waiting: self.state.workflow_patches_waiting(),
            workflow_patches_accepted: self.tally.workflow_patches_accepted,
            workflow_patches_rejected: self.tally.workflow_patches_rejected,
            versions_derived: self.tally.versions_derived,
        }
    }
}

fn parse_page(page: &str, tenant: Sym) -> Option<Ticket> {
    let mut parts = page.split(':');
    let ticket = Ticket {
        tenant,
        requested_ns: parts.next()?.parse().ok()?,
        run: RunId::parse(parts.next()?)?,
        scope: parts.next()?.parse().ok()?,
        slot: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(ticket)
}
