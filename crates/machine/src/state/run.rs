//! The state of one run: its scopes, their nodes, and what it waits for. What is a cache over (state, IR), and so
//! neither compared nor written, says so.

use super::logged::Logged;
use super::symbols::Sym;
use super::trial::Drawn;
use crate::action::JobKind;
use crate::id::RunId;
use crate::partition::program::Program;
use crate::run::replay::Frozen;
use crate::run::work::Work;
use apex_ir::ir::Priority;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// `due` of a retry whose time has come while the run was paused.
pub(crate) const READY: i64 = -1;
/// "No slot".
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// The scope of graph 0.
pub(crate) const ROOT: u32 = 0;

/// An open run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) tenant: Sym,
    pub(crate) workflow: Sym,
    pub(crate) version: Sym,
    pub(crate) ir_hash: [u8; 32],
    pub(crate) epoch: u32,
    pub(crate) correlation: Box<str>,
    pub(crate) inputs: Arc<[u8]>,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
    pub(crate) priority: Priority,
    pub(crate) goal: Option<Box<str>>,
    pub(crate) key: Box<str>,
    /// `RunStarted` was recorded.
    pub(crate) started: bool,
    /// What is decided of it in a turn stands in one record.
    pub(crate) fast: bool,
    /// Something was requested.
    pub(crate) requested: bool,
    pub(crate) started_ns: i64,
    /// When the whole run is out of time; 0: never.
    pub(crate) due: i64,
    /// `run_seq` of the next record.
    pub(crate) next_seq: u64,
    /// Position of the last record.
    pub(crate) head: u64,
    /// Hash of the last record.
    pub(crate) hash: [u8; 32],
    pub(crate) nodes_total: u32,
    pub(crate) nodes_done: u32,
    /// Jobs handed out, compensations included.
    pub(crate) in_flight: u32,
    /// Timers, retries and approvals waited for.
    pub(crate) waiting: u32,
    pub(crate) failing: Option<Box<Failing>>,
    /// What few runs have.
    pub(crate) extra: Option<Box<Extra>>,
    /// Never reused; a closed scope without anything to undo leaves a hole.
    pub(crate) scopes: Vec<Option<Box<Scope>>>,
    /// Cache: the compiled definition, and what is to be done next.
    pub(crate) program: Option<Arc<Program>>,
    pub(crate) work: VecDeque<Work>,
    /// Cache: what it keeps of the run that it replays.
    pub(crate) frozen: Option<Box<Frozen>>,
    /// Cache: it stands in the machine's backlog.
    pub(crate) queued: bool,
    /// Cache: jobs in flight were asked to end.
    pub(crate) cancels_sent: bool,
    /// Cache: bytes of the records that name all nodes with a compensation that were requested.
    pub(crate) undo_bytes: usize,
}

/// What few runs have; a run without any of it has no `Extra`.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The composite node that it runs for.
    pub(crate) parent: Option<Parent>,
    /// Child runs whose end is recorded here and not at themselves yet. This run does not end before them.
    pub(crate) ending: BTreeMap<RunId, Ending>,
    /// Child runs that completed and have something to undo, by the instance path of their composite node.
    pub(crate) completed: BTreeMap<Box<str>, Completed>,
    /// It is paused; the id of the checkpoint that was made then.
    pub(crate) paused: Option<Box<str>>,
    /// The run that it replays.
    pub(crate) origin: Option<Origin>,
    /// Nodes (scope, slot) that failed for good, and whose `DeadLettered` is to follow.
    pub(crate) letters: Vec<(u32, u32)>,
    /// Signals that no node has asked for yet, in the order in which they came.
    pub(crate) signals: Vec<KeptSignal>,
    /// Idempotency keys of signals, and the offset of each.
    pub(crate) signal_keys: BTreeMap<Box<str>, u64>,
    /// Keys of critical sections that nodes hold, by scope and slot.
    pub(crate) locks: BTreeMap<(u32, u32), Box<str>>,
    /// The schedule that started it; empty: none did.
    pub(crate) schedule: Box<str>,
    /// Its patches, in the order in which they took effect, dropped ones too.
    pub(crate) layers: Vec<Layer>,
    /// Patches that wait for a person, and those that one rejected.
    pub(crate) proposals: Vec<Proposal>,
    /// The highest number that a patch of it was given.
    pub(crate) patches: u32,
    /// Where its patches stand in the log, in the order of that. Of those in results that were refused, the last ones.
    pub(crate) patch_records: Vec<PatchRecord>,
    /// The last patches of agents that were refused, by a gate or a person: the next agent is told of them.
    pub(crate) refusals: Vec<PatchRefusal>,
    /// Epoch of its last migration; 0: none.
    pub(crate) migrated: u32,
    /// The arm of the tag that it was started by.
    pub(crate) drawn: Option<Drawn>,
}

/// A patch of a run.
#[derive(Debug)]
pub(crate) struct Layer {
    /// From 1; 0: the run began with it.
    pub(crate) number: u32,
    /// On ids, as logged.
    pub(crate) operations: Logged,
    /// That it made.
    pub(crate) epoch: u32,
    /// That dropping it made; 0: it is in force.
    pub(crate) dropped: u32,
    pub(crate) author: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) request_hash: [u8; 32],
}

/// A record about a patch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PatchRecord {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    /// In the log.
    pub(crate) position: u64,
    /// It was refused in a result, and there is no other record about it.
    pub(crate) refused: bool,
}

/// A patch of an agent that was refused.
#[derive(Debug)]
pub(crate) struct PatchRefusal {
    pub(crate) number: u32,
    pub(crate) author: Box<str>,
    /// Why the agent wanted it.
    pub(crate) reason: Box<str>,
    /// Empty: a person rejected it.
    pub(crate) code: Box<str>,
    /// A sentence; what that person said.
    pub(crate) message: Box<str>,
    /// JSON (`{"errors": …}`), or empty.
    pub(crate) details: Arc<[u8]>,
}

/// A patch that a policy holds for a person.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) number: u32,
    /// On ids, as logged; empty once it is rejected.
    pub(crate) operations: Logged,
    /// In force when it was proposed: what was changed up to there it was compared with.
    pub(crate) epoch: u32,
    pub(crate) base_epoch: u32,
    pub(crate) author: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) request_hash: [u8; 32],
    pub(crate) rejected: bool,
}

impl Layer {
    /// It was in force at this epoch.
    pub(crate) fn is_in_force(&self, epoch: u32) -> bool {
        self.epoch <= epoch && (self.dropped == 0 || self.dropped > epoch)
    }
}

/// A signal that no node has asked for yet.
#[derive(Debug)]
pub(crate) struct KeptSignal {
    /// Offset of its record.
    pub(crate) seq: u64,
    pub(crate) name: Box<str>,
    pub(crate) payload: Arc<[u8]>,
}

/// The run that another one replays.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) run: RunId,
    /// Instance path; empty: from the start.
    pub(crate) from: Box<str>,
    /// What does not come after it keeps what it gave.
    pub(crate) freeze: bool,
}

/// The composite node that a run runs for.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) run: RunId,
    /// Instance path.
    pub(crate) node: Box<str>,
    /// Runs above it.
    pub(crate) depth: u32,
}

/// A child run that is about to end.
#[derive(Debug)]
pub(crate) struct Ending {
    /// `run_seq` of the `ChildEnded`.
    pub(crate) seq: u64,
    /// It is kept if it has something to undo.
    pub(crate) keeps: bool,
    /// Nobody waited for it any more: it cancels itself.
    pub(crate) taken_back: bool,
}

/// A child run that completed.
#[derive(Debug)]
pub(crate) struct Completed {
    /// `run_seq` of the `ChildEnded`.
    pub(crate) seq: u64,
    pub(crate) run: Box<Run>,
}

/// What a failing run is about.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) error: RunError,
    /// Undo what completed.
    pub(crate) compensate: bool,
    /// What is undone, in order; known once nothing is in flight.
    pub(crate) steps: Option<Vec<Step>>,
    /// Steps that are done or given up; they are taken in order.
    pub(crate) settled: u32,
    /// When compensation is out of time; 0: never.
    pub(crate) due: i64,
    /// It is: what is left is given up.
    pub(crate) expired: bool,
}

/// Why a run fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunError {
    pub(crate) code: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) message: Box<str>,
    pub(crate) node: Box<str>,
}

/// Why a node failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Box<str>,
    pub(crate) message: Box<str>,
}

/// One node to undo.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) scope: u32,
    pub(crate) slot: u32,
    /// Where it is of a child that completed: instance paths of composite nodes, from the outside in, joined by `/`.
    pub(crate) within: Box<str>,
    pub(crate) phase: StepPhase,
    /// The last attempt; 0: none yet.
    pub(crate) attempt: u32,
    pub(crate) flight: Option<Box<Flight>>,
    /// When it is tried again, or (in flight) out of time; 0: never.
    pub(crate) due: i64,
    pub(crate) error: Option<Box<Fault>>,
}

/// Where the undoing of a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepPhase {
    Ahead,
    InFlight,
    Retrying,
    Done,
    Failed,
}

/// A graph being executed: the workflow's own (scope 0), or the body for one item of a map or one iteration of a loop.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The scope of the map or loop.
    pub(crate) parent: u32,
    /// The map or loop in it.
    pub(crate) owner: u32,
    pub(crate) index: u32,
    /// `run_seq` of what opened it.
    pub(crate) opened_seq: u64,
    /// The item of a map; in a loop the output of the iteration before, empty for the first one.
    pub(crate) item: Arc<[u8]>,
    /// `m[3]`; empty for scope 0.
    pub(crate) path: Box<str>,
    /// In the order in which they were first touched.
    pub(crate) nodes: Vec<Node>,
    pub(crate) failing: Option<Box<Fault>>,
    pub(crate) closed: bool,
    /// Something in it may have to be undone: it is kept when it closes.
    pub(crate) undo: bool,
    /// Id to slot, once there are many.
    pub(crate) slots: super::symbols::IdMap<Sym, u32>,
    /// Cache: a cell per node of its graph; empty: not built.
    pub(crate) cells: Vec<Cell>,
    /// Cache: its graph.
    pub(crate) graph: u32,
    /// Cache: nodes not decided.
    pub(crate) undecided: u32,
}

/// The join counters of a node (a cache).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) live: u32,
    pub(crate) dead: u32,
    pub(crate) slot: u32,
    /// Started, skipped or queued for either: later tokens change nothing.
    pub(crate) fired: bool,
}

/// A node that was touched.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) sym: Sym,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    /// An attempt to write ended without telling.
    pub(crate) unknown: bool,
    /// It is a write.
    pub(crate) write: bool,
    /// The function that undoes it, or empty.
    pub(crate) compensation: Sym,
    /// `run_seq` of the last request, or of the event that began its wait.
    pub(crate) requested_seq: u64,
    /// `run_seq` of what decided it.
    pub(crate) decided_seq: u64,
    pub(crate) kept: Kept,
    pub(crate) error: Option<Box<Fault>>,
    /// Targets of its edges that are dead although its status would let them live.
    pub(crate) dead: Vec<Sym>,
    pub(crate) wait: Wait,
    /// Cache: a join with `cancel_rest` has fired and takes it back: what it still comes to matters to nobody.
    pub(crate) doomed: bool,
    /// Scopes of a map by item, of a loop by iteration: open ones, and closed ones that may have to be undone.
    pub(crate) children: BTreeMap<u32, u32>,
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Status {
    #[default]
    Open,
    Ok,
    Failed,
    Skipped,
}

/// What is kept of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// There is none, or nobody reads it.
    Nothing,
    All(Arc<[u8]>),
    /// JSON Pointer and value.
    Parts(Vec<(Box<str>, Arc<[u8]>)>),
}

/// What an open node waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    Nothing,
    Job(Box<Flight>),
    /// `due` 0: not scheduled yet; [`READY`]: its time has come.
    Retry {
        flight: Box<Flight>,
        due: i64,
    },
    Timer {
        due: i64,
    },
    Approval(Box<Asked>),
    Signal(Box<Awaited>),
    Lock(Box<Queued>),
    Rate(Box<Throttled>),
    Map(Box<Items>),
    Loop(Box<Iterations>),
    Child(Box<Child>),
}

impl Wait {
    /// Its job: in flight, or to be requested.
    pub(crate) fn flight(&self) -> Option<&Flight> {
        match self {
            Wait::Job(flight) | Wait::Retry { flight, .. } => Some(flight),
            Wait::Rate(throttled) => throttled.flight.as_deref(),
            _ => None,
        }
    }

    /// It waits for a time, a person or another run, and not for what goes on within the run.
    pub(crate) fn is_for_outside(&self) -> bool {
        matches!(
            self,
            Wait::Retry { .. }
                | Wait::Timer { .. }
                | Wait::Approval(_)
                | Wait::Signal(_)
                | Wait::Lock(_)
                | Wait::Rate(_)
        )
    }
}

/// A job in flight, or one that will be tried again: all that is needed to hand it out once more.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) kind: JobKind,
    pub(crate) name: Sym,
    pub(crate) input: Arc<[u8]>,
    pub(crate) config: Arc<[u8]>,
    pub(crate) timeout_ns: i64,
    /// When the attempt is out of time; 0: never.
    pub(crate) due: i64,
    pub(crate) max_attempts: u32,
    /// What few jobs have.
    pub(crate) care: Option<Box<Care>>,
    /// Input and config are not recorded: they follow from the state.
    pub(crate) omitted: bool,
    /// Cache: what was omitted.
    pub(crate) rendered: Option<Box<Rendered>>,
    /// The node's own, where it states another than `medium`.
    pub(crate) priority: Option<Priority>,
    /// Cache: its number in the machine's table of jobs; 0: none.
    pub(crate) job: u64,
}

/// What a job is given.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) input: Arc<[u8]>,
    pub(crate) config: Arc<[u8]>,
}

/// What few jobs have: limits beyond that of the attempt, heartbeats, a breaker, corrections.
#[derive(Debug)]
pub(crate) struct Care {
    /// When the time of all attempts is over; 0: never.
    pub(crate) close_by: i64,
    /// Longest time without a heartbeat; 0: any.
    pub(crate) heartbeat_ns: i64,
    /// When a heartbeat must have come; 0: never.
    pub(crate) beat_by: i64,
    /// Time of the last heartbeat that was recorded; 0: none was.
    pub(crate) beat_ns: i64,
    /// What it said; empty: nothing.
    pub(crate) progress: Arc<[u8]>,
    /// The breaker that counts the outcome, or empty.
    pub(crate) breaker: Sym,
    /// Position of the breaker's last change when the attempt was requested.
    pub(crate) generation: u64,
    pub(crate) correction: Corrected,
    /// Corrections proposed so far.
    pub(crate) corrections: u32,
    /// Of a job that asks for a correction: the one that failed.
    pub(crate) corrects: Option<Box<Flight>>,
    /// Cache: the newest heartbeat, where it is not recorded.
    pub(crate) pending: Option<Box<Beat>>,
}

/// A heartbeat that came.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) ns: i64,
    pub(crate) progress: Vec<u8>,
}

/// What a job that waits for its next attempt waits for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corrected {
    No,
    /// A model is to be asked for another input.
    Wanted,
    /// It has proposed one: the next attempt follows at once.
    Proposed,
}

impl Default for Care {
    fn default() -> Care {
        Care {
            close_by: 0,
            heartbeat_ns: 0,
            beat_by: 0,
            beat_ns: 0,
            progress: Arc::default(),
            breaker: Sym::EMPTY,
            generation: 0,
            correction: Corrected::No,
            corrections: 0,
            corrects: None,
            pending: None,
        }
    }
}

impl Flight {
    /// One that was never requested: its breaker was open. Its input is yet to be made.
    pub(crate) fn unrequested() -> Flight {
        Flight {
            kind: JobKind::Function,
            name: Sym::EMPTY,
            input: Arc::default(),
            config: Arc::default(),
            timeout_ns: 0,
            due: 0,
            max_attempts: 0,
            care: None,
            omitted: false,
            rendered: None,
            priority: None,
            job: 0,
        }
    }

    /// When time ends it, or asks for a heartbeat; 0: never.
    pub(crate) fn wakes(&self) -> i64 {
        let Some(care) = &self.care else { return self.due };
        [self.due, care.close_by, care.beat_by].into_iter().filter(|due| *due != 0).min().unwrap_or(0)
    }

    /// What stands beside it, made where it was not there.
    pub(crate) fn care_mut(&mut self) -> &mut Care {
        self.care.get_or_insert_default()
    }
}

/// A child run that is waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) run: RunId,
    pub(crate) version: Sym,
    /// `name` is the workflow, `input` its inputs.
    pub(crate) flight: Box<Flight>,
}

/// A decision that is waited for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) prompt: Box<str>,
    pub(crate) requested_ns: i64,
    /// 0: no end.
    pub(crate) due: i64,
    /// When others are asked as well; 0: never, or they are.
    pub(crate) escalate_due: i64,
    pub(crate) escalated_to: Vec<Box<str>>,
}

/// A signal that is waited for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) name: Arc<str>,
    /// 0: no end.
    pub(crate) due: i64,
}

/// A place in the line for a key.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) key: Arc<str>,
    /// Position of the record that gave it.
    pub(crate) at: u64,
}

/// A turn at a tool with a rate.
#[derive(Debug)]
pub(crate) struct Throttled {
    pub(crate) due: i64,
    /// Of an attempt that is not the first.
    pub(crate) flight: Option<Box<Flight>>,
}

/// A map in progress.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) list: Arc<[u8]>,
    pub(crate) count: u32,
    /// The next item to open.
    pub(crate) next: u32,
    pub(crate) open: u32,
    /// By item; an item that is not closed, or failed, has none.
    pub(crate) outputs: Vec<Option<Arc<[u8]>>>,
    /// Why the map fails.
    pub(crate) error: Option<Box<Fault>>,
    /// Cache: where each item stands in the list; empty: not looked for.
    pub(crate) ranges: Vec<(u32, u32)>,
    /// Cache: bytes of `outputs`; `None`: not counted.
    pub(crate) bytes: Option<usize>,
}

/// A loop in progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Iterations {
    /// The next iteration to open.
    pub(crate) next: u32,
    /// One is open.
    pub(crate) open: bool,
    /// Output of the last one that closed; empty: none did.
    pub(crate) last: Arc<[u8]>,
    /// Why the loop fails.
    pub(crate) error: Option<Box<Fault>>,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct EndedRun {
    pub(crate) fast: bool,
    pub(crate) tenant: Sym,
    pub(crate) workflow: Sym,
    pub(crate) version: Sym,
    pub(crate) ir_hash: [u8; 32],
    pub(crate) epoch: u32,
    pub(crate) correlation: Box<str>,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
    pub(crate) priority: Priority,
    pub(crate) goal: Option<Box<str>>,
    pub(crate) started_ns: i64,
    pub(crate) ended_ns: i64,
    pub(crate) offset: u64,
    pub(crate) head: u64,
    pub(crate) nodes_total: u32,
    pub(crate) nodes_done: u32,
    /// `None`: it completed.
    pub(crate) error: Option<Box<RunError>>,
    pub(crate) parent: Option<Box<Parent>>,
    pub(crate) drawn: Option<Box<Drawn>>,
    /// Those that it was given.
    pub(crate) patches: Option<Box<EndedPatches>>,
}

/// The patches of a run that has ended.
#[derive(Debug)]
pub(crate) struct EndedPatches {
    pub(crate) count: u32,
    pub(crate) records: Vec<PatchRecord>,
}

impl Wait {
    /// A map with open items, or a loop with an open iteration.
    pub(crate) fn has_open_scopes(&self) -> bool {
        match self {
            Wait::Map(items) => items.open > 0,
            Wait::Loop(iterations) => iterations.open,
            _ => false,
        }
    }
}

impl Items {
    /// Bytes of the outputs so far.
    pub(crate) fn output_bytes(&mut self) -> usize {
        let outputs = &self.outputs;
        *self.bytes.get_or_insert_with(|| outputs.iter().flatten().map(|output| output.len()).sum())
    }
}

impl Scope {
    /// The root, or a body.
    pub(crate) fn new(parent: u32, owner: u32, index: u32, item: Arc<[u8]>, path: Box<str>) -> Scope {
        Scope {
            parent,
            owner,
            index,
            opened_seq: 0,
            item,
            path,
            nodes: Vec::new(),
            failing: None,
            closed: false,
            undo: false,
            slots: Default::default(),
            cells: Vec::new(),
            graph: 0,
            undecided: 0,
        }
    }

    /// The slot of a node that was touched. Few nodes are looked through, many have a table (measured: a table pays
    /// from about 16 on).
    pub(crate) fn find(&self, sym: Sym) -> Option<u32> {
        if self.slots.is_empty() {
            self.nodes.iter().position(|node| node.sym == sym).map(|slot| slot as u32)
        } else {
            self.slots.get(&sym).copied()
        }
    }

    /// The slot of a node, touched or not.
    pub(crate) fn touch(&mut self, sym: Sym) -> u32 {
        if let Some(slot) = self.find(sym) {
            return slot;
        }
        let slot = self.nodes.len() as u32;
        self.nodes.push(Node::new(sym));
        if !self.slots.is_empty() {
            self.slots.insert(sym, slot);
        } else if self.nodes.len() > 16 {
            self.slots.extend(self.nodes.iter().enumerate().map(|(slot, node)| (node.sym, slot as u32)));
        }
        slot
    }
}

impl Node {
    fn new(sym: Sym) -> Node {
        Node {
            sym,
            status: Status::Open,
            attempt: 0,
            unknown: false,
            write: false,
            compensation: Sym::EMPTY,
            requested_seq: 0,
            decided_seq: 0,
            kept: Kept::Nothing,
            error: None,
            dead: Vec::new(),
            wait: Wait::Nothing,
            doomed: false,
            children: BTreeMap::new(),
        }
    }

    /// A write whose outcome would be unknown if it ended now without telling.
    pub(crate) fn is_writing(&self) -> bool {
        self.write && matches!(&self.wait, Wait::Job(flight) if flight.kind != JobKind::Correction)
    }

    /// Something undoes it.
    pub(crate) fn is_undone(&self) -> bool {
        self.compensation != Sym::EMPTY
    }

    /// Compensation covers it.
    pub(crate) fn to_undo(&self) -> bool {
        self.compensation != Sym::EMPTY && (self.status == Status::Ok || (self.write && self.unknown))
    }
}

impl Status {
    /// As expressions see it.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Status::Open => None,
            Status::Ok => Some("ok"),
            Status::Failed => Some("failed"),
            Status::Skipped => Some("skipped"),
        }
    }
}

impl Run {
    /// Nothing new of it is requested.
    pub(crate) fn is_paused(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.paused.is_some())
    }

    /// What few runs have, made where it was not there.
    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The composite node that it runs for.
    pub(crate) fn parent(&self) -> Option<&Parent> {
        self.extra.as_ref()?.parent.as_ref()
    }

    /// Runs above it.
    pub(crate) fn depth(&self) -> u32 {
        self.parent().map_or(0, |parent| parent.depth)
    }

    /// Children of it are about to end.
    pub(crate) fn has_ending(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.ending.is_empty())
    }

    /// Its patches, dropped ones too.
    pub(crate) fn layers(&self) -> &[Layer] {
        self.extra.as_ref().map_or(&[], |extra| &extra.layers)
    }

    /// Patches that wait for a person, and those that one rejected.
    pub(crate) fn proposals(&self) -> &[Proposal] {
        self.extra.as_ref().map_or(&[], |extra| &extra.proposals)
    }

    /// Where its patches stand in the log.
    pub(crate) fn patch_records(&self) -> &[PatchRecord] {
        self.extra.as_ref().map_or(&[], |extra| &extra.patch_records)
    }

    /// The number of the next patch.
    pub(crate) fn next_patch(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.patches) + 1
    }

    /// Forgets what was made of its program: the counters and the work. Both follow from the state and another one.
    pub(crate) fn forget_program(&mut self) {
        self.program = None;
        self.work.clear();
        self.scopes.iter_mut().flatten().for_each(|scope| scope.cells.clear());
    }

    /// A scope that is there. Scopes are only named by nodes and work that cannot outlive them.
    pub(crate) fn scope(&self, scope: u32) -> Option<&Scope> {
        self.scopes.get(scope as usize)?.as_deref()
    }

    /// The same, to change it.
    pub(crate) fn scope_mut(&mut self, scope: u32) -> Option<&mut Scope> {
        self.scopes.get_mut(scope as usize)?.as_deref_mut()
    }

    /// Whether a body that the scope is or stands in failed, its node did, or a join takes that back: nothing begins
    /// there any more.
    pub(crate) fn is_given_up(&self, scope: u32) -> bool {
        let mut at = scope;
        while at != ROOT {
            let Some(inner) = self.scope(at) else { return true };
            let owner = self.node(inner.parent, inner.owner);
            let owner_ends = owner.is_some_and(|owner| {
                owner.doomed
                    || match &owner.wait {
                        Wait::Map(items) => items.error.is_some(),
                        Wait::Loop(iterations) => iterations.error.is_some(),
                        _ => false,
                    }
            });
            if inner.failing.is_some() || inner.closed || owner_ends {
                return true;
            }
            at = inner.parent;
        }
        false
    }

    /// The same of a node: nothing follows from what it still comes to.
    pub(crate) fn is_node_given_up(&self, scope: u32, slot: u32) -> bool {
        self.node(scope, slot).is_some_and(|node| node.doomed) || self.is_given_up(scope)
    }

    /// A node that was touched.
    pub(crate) fn node(&self, scope: u32, slot: u32) -> Option<&Node> {
        self.scope(scope)?.nodes.get(slot as usize)
    }

    /// The same, to change it.
    pub(crate) fn node_mut(&mut self, scope: u32, slot: u32) -> Option<&mut Node> {
        self.scope_mut(scope)?.nodes.get_mut(slot as usize)
    }
}

/// Splits an instance path at its last scope: `m[3].n[0].x` is (`m[3].n[0]`, `x`). Node ids hold no brackets.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    match path.as_bytes().windows(2).rposition(|pair| pair == b"].") {
        Some(at) => (&path[..=at], &path[at + 2..]),
        None => ("", path),
    }
}

impl Run {
    /// The instance path of a node.
    pub(crate) fn path<'a>(&self, scope: u32, id: &'a str) -> std::borrow::Cow<'a, str> {
        match self.scope(scope) {
            Some(scope) if !scope.path.is_empty() => format!("{}.{id}", scope.path).into(),
            _ => id.into(),
        }
    }
}
