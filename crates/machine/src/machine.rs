//! The machine: `step` decides, `advance` releases. What stands between them is durable or is not said.

use crate::action::{Ended, Job, JobKind, Refusal, Released, Reply, Turn};
use crate::command::Command;
use crate::config::Config;
use crate::error::code;
use crate::id::RunId;
use crate::partition::jobs::{InFlight, Jobs};
use crate::partition::patch_set::{Compiling, Draft};
use crate::partition::program::Programs;
use crate::partition::turn::{Pending, refusal};
use crate::run::signal::Published;
use crate::state::State;
use crate::state::run::{Flight, ROOT, Wait};
use crate::state::symbols::{IdMap, Sym};
use crate::view::PatchTally;
use apex_ir::FunctionTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Runs looked at in one turn. Most have nothing to do (after recovery, say) and fill no turn, but they take time.
const VISITS_PER_TURN_MAX: u32 = 8_000;

/// Slots looked at for runs that may rest in each turn that wakes more than it should; more with what it decides.
const RESTS_PER_TURN_MIN: usize = 64;

/// What a durable position releases.
#[derive(Debug)]
pub(crate) enum Action {
    Job(u64),
    Cancel(u64),
    Reply(Box<Reply>),
    Ended(Box<Ended>),
}

/// What was counted since the process began; not state.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Runs started: asked for, by a schedule, or by another run.
    pub(crate) starts: u64,
    /// Retries scheduled.
    pub(crate) retries: u64,
    /// Nodes whose undoing began.
    pub(crate) compensations: u64,
    pub(crate) breaker_changes: u64,
    /// Times that runs went on under another definition: moved, patched, a patch dropped.
    pub(crate) migrations: u64,
    pub(crate) rollbacks: u64,
    /// Patches on workflows: taken into a set, refused; versions derived.
    pub(crate) workflow_patches_accepted: u64,
    pub(crate) workflow_patches_rejected: u64,
    pub(crate) versions_derived: u64,
    /// Patches by kind of author, what became of them, and the gate that refused them.
    pub(crate) patches: BTreeMap<PatchTally, u64>,
}

impl Tally {
    pub(crate) fn patch(&mut self, kind: &'static str, outcome: &'static str, gate: &'static str) {
        *self.patches.entry((kind, outcome, gate)).or_default() += 1;
    }

    /// Patches that took effect.
    pub(crate) fn applied(&self) -> u64 {
        self.patches.iter().filter(|((_, outcome, _), _)| *outcome == "applied").map(|(_, count)| count).sum()
    }
}

/// Many runs, decided one command at a time. Drive it with `step`, append the turn, then `advance`.
///
/// A panic in `step` leaves it usable: call `quarantine_in_hand`, then go on with `step`.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: Config,
    /// Time of this step; never runs backwards.
    pub(crate) now: i64,
    pub(crate) state: State,
    /// The turn being built.
    pub(crate) out: Vec<u8>,
    pub(crate) count: u32,
    /// What definitions that were compiled in this turn count for, in records.
    pub(crate) compiled: u32,
    /// Bytes of `out` that are folded; what a panic left behind them is cut off.
    pub(crate) sealed: usize,
    /// Decisions of a fast run that are not in `out` yet.
    pub(crate) pending: Pending,
    /// Commands that did not fit into the turn yet.
    pub(crate) inbox: VecDeque<(u64, Command)>,
    /// A tick did not get through all that was due.
    ticking: bool,
    /// Runs with work left, a queue per tenant, the tenants in turn.
    backlog: IdMap<Sym, VecDeque<u32>>,
    /// Runs that were at rest when the machine was recovered and were not looked at since.
    pub(crate) unseen: VecDeque<RunId>,
    tenants: VecDeque<Sym>,
    /// Events on their way to all runs that wait for them.
    pub(crate) published: VecDeque<Published>,
    pub(crate) actions: VecDeque<(u64, Action)>,
    pub(crate) jobs: Jobs,
    pub(crate) programs: Programs,
    /// What the functions are that patches on workflows may name; `None`: they are taken as named.
    pub(crate) functions: Option<FunctionTable>,
    /// What the patches of a batch have made so far.
    pub(crate) draft: Option<Draft>,
    /// The patch on a workflow that is being compiled, for the caller that caught a panic.
    pub(crate) compiling: Option<Compiling>,
    pub(crate) quarantined: BTreeSet<RunId>,
    /// What was counted since the process began.
    pub(crate) tally: Tally,
    /// What is being decided, for the caller that caught a panic.
    in_hand: Option<(u64, Option<RunId>)>,
}

impl Machine {
    /// An empty machine.
    #[must_use]
    pub fn new(config: Config) -> Machine {
        Machine {
            now: 0,
            state: State::new(config.partitions),
            config,
            out: Vec::new(),
            count: 0,
            compiled: 0,
            sealed: 0,
            pending: Pending::default(),
            inbox: VecDeque::new(),
            ticking: false,
            backlog: IdMap::default(),
            unseen: VecDeque::new(),
            tenants: VecDeque::new(),
            published: VecDeque::new(),
            actions: VecDeque::new(),
            jobs: Jobs::default(),
            programs: Programs::default(),
            functions: None,
            draft: None,
            compiling: None,
            quarantined: BTreeSet::new(),
            tally: Tally::default(),
            in_hand: None,
        }
    }

    /// Says what the functions of this process are. A patch on a workflow is judged by those of the time when its batch is
    /// made, which may be after another start of the process.
    pub fn know_functions(&mut self, functions: Option<FunctionTable>) {
        self.functions = functions;
        self.draft = None;
    }

    /// Number of records decided or folded so far: the log's positions.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.state.position
    }

    /// Decides a batch of (token, command) and applies it at once; token 0 wants no reply. An empty batch goes on with
    /// what is left. What a full turn left goes on before new commands, in at most half of a turn where there are any,
    /// so that one run's fan-out does not hold up the others.
    pub fn step(&mut self, now_ns: i64, commands: Vec<(u64, Command)>) -> Turn {
        self.out.truncate(self.sealed);
        self.now = self.now.max(now_ns).max(self.state.time_ns);
        if self.inbox.is_empty() {
            self.inbox = commands.into();
        } else {
            self.inbox.extend(commands);
        }
        let mut visits = VISITS_PER_TURN_MAX;
        let half = self.config.limits.events_per_turn_max / 2;
        while (self.inbox.is_empty() || self.count < half) && self.has_room() && self.go_on_with_one(&mut visits) {}
        if self.ticking {
            self.tick();
            self.in_hand = None;
        }
        while self.has_room() {
            let Some((token, command)) = self.inbox.pop_front() else { break };
            self.in_hand = Some((token, None));
            self.take(token, command);
            self.in_hand = None;
        }
        while self.has_room() && self.go_on_with_one(&mut visits) {}
        self.seal();
        let seen = (VISITS_PER_TURN_MAX - visits) as usize;
        let looks = RESTS_PER_TURN_MIN + 2 * (self.count as usize + seen);
        self.state.rest_some(self.config.limits.runs_awake_max, looks);
        let size = self.out.len() + self.out.len() / 4;
        let turn = Turn {
            // The next turn is likely to be as large as this one.
            records: std::mem::replace(&mut self.out, Vec::with_capacity(size)),
            count: self.count,
            position: self.state.position,
            more: self.ticking
                || !self.inbox.is_empty()
                || !self.tenants.is_empty()
                || !self.published.is_empty()
                || !self.unseen.is_empty()
                || self.has_grant(),
        };
        self.count = 0;
        self.compiled = 0;
        self.sealed = 0;
        turn
    }

    fn take(&mut self, token: u64, command: Command) {
        match command {
            Command::RegisterWorkflow(command) => self.register(token, &command),
            Command::TagWorkflow(command) => self.tag(token, &command),
            Command::PatchWorkflow(command) => self.patch_workflow(token, &command),
            Command::UnpatchWorkflow(command) => self.unpatch_workflow(token, &command),
            Command::StartRun(command) => self.start_run(token, &command),
            Command::ReplayRun(command) => self.replay_run(token, &command),
            Command::SupplyHistory(command) => {
                self.supply_history(&command);
                self.answer(token, crate::action::Answer::default());
            }
            Command::PutSchedule(command) => self.put_schedule(token, &command),
            Command::ChangeSchedule(command) => self.change_schedule(token, &command),
            Command::CancelRun(command) => self.cancel_run(token, &command),
            Command::PauseRun(command) => self.pause_run(token, &command),
            Command::ResumeRun(command) => self.resume_run(token, &command),
            Command::MigrateRun(command) => self.migrate_run(token, &command),
            Command::ApplyPatch(command) => self.apply_patch(token, &command),
            Command::ApprovePatch(command) => self.approve_patch(token, &command),
            Command::RollbackPatch(command) => self.roll_back_patch(token, &command),
            Command::SignalRun(command) => self.signal_run(token, &command),
            Command::PublishSignal(command) => self.publish_signal(token, command),
            Command::ResolveApproval(command) => self.resolve_approval(token, &command),
            Command::JobResult(result) => self.take_result(token, result),
            Command::Heartbeat(heartbeat) => self.take_heartbeat(token, &heartbeat),
            Command::DropDeadLetter(command) => self.drop_dead_letter(token, &command),
            Command::Erase(command) => self.erase(token, &command),
            Command::Tick => {
                self.tick();
                self.answer(token, crate::action::Answer::default());
            }
        }
    }

    fn tick(&mut self) {
        self.ticking = true;
        self.ticking = self.fire_due();
    }

    /// When `Command::Tick` should come. The timers of a run that is set aside wait with it.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        let mut timers = self.state.index.timers.iter();
        let timer = timers.find(|timer| !self.quarantined.contains(&timer.run)).map(|timer| timer.due);
        let schedule = self.state.index.schedules.first().map(|(due, ..)| *due);
        let patches = self.state.index.patching.first().map(|(due, ..)| *due);
        timer.into_iter().chain(schedule).chain(patches).min()
    }

    /// Patches since the process began, by kind of author, what became of them, and the gate that refused them.
    #[must_use]
    pub fn patch_counts(&self) -> Vec<(PatchTally, u64)> {
        self.tally.patches.iter().map(|(&what, &count)| (what, count)).collect()
    }

    /// Puts a run into the backlog.
    pub(crate) fn queue(&mut self, slot: u32) {
        let Some(run) = self.state.run_mut(slot) else { return };
        if run.queued {
            return;
        }
        run.queued = true;
        let tenant = run.tenant;
        let queue = self.backlog.entry(tenant).or_default();
        if queue.is_empty() {
            self.tenants.push_back(tenant);
        }
        queue.push_back(slot);
    }

    /// Gives out a key, passes an event on, or goes on with a run: what was begun before new commands.
    fn go_on_with_one(&mut self, visits: &mut u32) -> bool {
        let found = self.grant_next() || self.publish_next() || self.visit_next(visits);
        self.in_hand = None;
        found
    }

    /// Goes on with one run of the backlog, of the next tenant. `false`: there is none, or enough was looked at.
    fn visit_next(&mut self, visits: &mut u32) -> bool {
        if *visits == 0 {
            return false;
        }
        *visits -= 1;
        let Some(tenant) = self.tenants.front().copied() else { return self.visit_unseen() };
        self.tenants.pop_front();
        let Some(queue) = self.backlog.get_mut(&tenant) else { return true };
        let slot = queue.pop_front();
        if queue.is_empty() {
            self.backlog.remove(&tenant);
        } else {
            self.tenants.push_back(tenant);
        }
        if let Some(run) = slot.and_then(|slot| self.state.run_mut(slot)) {
            run.queued = false;
            self.in_hand = Some((0, Some(run.id)));
        }
        if let Some(slot) = slot {
            self.visit_now(slot);
        }
        self.in_hand = None;
        true
    }

    /// Looks at one run that was at rest in a recovery. `false`: there is none.
    fn visit_unseen(&mut self) -> bool {
        let Some(id) = self.unseen.pop_front() else { return false };
        if let Some(slot) = self.state.find(&id) {
            self.in_hand = Some((0, Some(id)));
            self.visit_now(slot);
            self.in_hand = None;
        }
        true
    }

    pub(crate) fn backlog_len(&self) -> usize {
        self.backlog.values().map(VecDeque::len).sum::<usize>() + self.unseen.len()
    }

    /// Notes which run is being worked on.
    pub(crate) fn hand(&mut self, run_id: RunId) {
        let token = self.in_hand.map_or(0, |(token, _)| token);
        self.in_hand = Some((token, Some(run_id)));
    }

    /// Notes that the command in hand has its answer.
    pub(crate) fn answered(&mut self) {
        if let Some((token, _)) = &mut self.in_hand {
            *token = 0;
        }
    }

    /// After a panic in `step` was caught: sets aside the run that was in hand, answers its command with `INTERNAL`.
    /// Everything else goes on with the next `step`. Gives the run; the registry where a patch on a workflow is refused,
    /// which would be compiled again after each start.
    pub fn quarantine_in_hand(&mut self) -> Option<RunId> {
        let in_hand = self.in_hand.take();
        let compiling = self.compiling.take();
        if in_hand.is_none() && compiling.is_none() {
            return None;
        }
        self.out.truncate(self.sealed);
        self.pending.cut();
        self.seal();
        let refused = compiling.map(|compiling| {
            self.refuse_compiling(&compiling);
            RunId::REGISTRY
        });
        let Some((token, run_id)) = in_hand else { return refused };
        if let Some(run_id) = run_id {
            self.quarantine(&run_id);
        }
        self.refuse(token, refusal(code::INTERNAL, "the machine failed on this command"));
        run_id.or(refused)
    }

    /// Refuses a command to a run that is set aside: nothing of it would be recorded.
    pub(crate) fn refuse_quarantined(&self, run_id: &RunId) -> Result<(), Refusal> {
        if self.quarantined.contains(run_id) {
            return Err(refusal(code::INTERNAL, format!("run {run_id} is set aside after a fault")));
        }
        Ok(())
    }

    /// Sets a run aside: nothing touches it any more until the process starts again.
    pub fn quarantine(&mut self, run_id: &RunId) {
        if self.state.is_open(run_id) {
            self.quarantined.insert(*run_id);
        }
    }

    /// Releases what a durable position (a number of records) allows.
    pub fn advance(&mut self, position: u64) -> Released {
        let mut released = Released::default();
        while self.actions.front().is_some_and(|(at, _)| *at <= position) {
            let Some((_, action)) = self.actions.pop_front() else { break };
            match action {
                Action::Job(id) => {
                    if let Some(job) = self.release(id) {
                        released.jobs.push(job);
                    }
                }
                Action::Cancel(id) => released.cancels.push(id),
                Action::Reply(reply) => released.replies.push(*reply),
                Action::Ended(ended) => released.ended.push(*ended),
            }
        }
        released
    }

    /// The job with an id, if it is still wanted.
    fn release(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.get_mut(id)?;
        job.released = true;
        let job = *job;
        let given = if job.compensation { None } else { Some(self.given(job.run, job.scope, job.slot)?) };
        let run = self.state.run(job.run).filter(|run| run.id == job.run_id)?;
        let symbols = &self.state.symbols;
        let (node, flight): (Arc<str>, &Flight) = if job.compensation {
            let step = run.failing.as_ref()?.steps.as_ref()?.get(job.slot as usize)?;
            (run.step_path(symbols, step).into(), step.flight.as_deref()?)
        } else {
            let node = run.node(job.scope, job.slot)?;
            let name = symbols.name(node.sym);
            let path = if job.scope == ROOT { name.clone() } else { run.path(job.scope, name).into() };
            match &node.wait {
                Wait::Job(flight) => (path, flight),
                _ => return None,
            }
        };
        let InFlight { attempt, compensation, .. } = job;
        let mut idempotency_key = String::with_capacity(37 + node.len() + 5);
        run.id.write_str(&mut idempotency_key);
        idempotency_key.push('/');
        idempotency_key.push_str(&node);
        if compensation {
            idempotency_key.push_str("/undo");
        } else if flight.kind == JobKind::Correction {
            idempotency_key.push_str("/correction");
        }
        let care = flight.care.as_deref();
        let mut made = Job {
            id,
            run_id: run.id,
            node,
            attempt,
            max_attempts: flight.max_attempts,
            kind: flight.kind,
            name: symbols.name(flight.name).clone(),
            input: given.as_ref().map_or(&flight.input, |given| &given.input).clone(),
            config: given.as_ref().map_or(&flight.config, |given| &given.config).clone(),
            idempotency_key,
            timeout_ns: (flight.timeout_ns > 0).then_some(flight.timeout_ns),
            heartbeat_timeout_ns: care.map(|care| care.heartbeat_ns).filter(|ns| *ns > 0),
            progress: care.map(|care| care.progress.clone()).unwrap_or_default(),
            compensation,
            patching: None,
            tenant: symbols.name(run.tenant).clone(),
            priority: flight.priority.unwrap_or(run.priority),
        };
        if made.kind == JobKind::Agent {
            made.patching = self.patching(&job).map(Box::new);
        }
        Some(made)
    }
}
