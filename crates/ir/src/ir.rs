//! The IR: what the compiler makes of a definition. Flat, immutable, content-addressed, ready to route on.
//!
//! Nodes of every graph (the workflow's own and the body of each map or loop) stand in one array; a graph is a
//! range of it. Edges stand in one array sorted by source, so that the edges out of a node are a range; the edges
//! into a node are a range of `in_edges`, which holds edge indexes. Indexes are dense `u32`s and never leave the
//! process: events and state name nodes by id.

use crate::Diagnostic;
use crate::expressions::{Expression, Template};
use crate::id::{HashMap, Id};
use crate::schema::Schema;
use crate::value::scan::read;
use crate::value::{Value, ValueLimits, parse};
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

/// Index of a node in [`Ir::nodes`].
pub type NodeIx = u32;
/// Index of an edge in [`Ir::edges`].
pub type EdgeIx = u32;
/// Index of a graph in [`Ir::graphs`]; 0 is the workflow's own.
pub type GraphIx = u32;

/// A compiled definition.
#[derive(Debug)]
pub struct Ir {
    /// SHA-256 over the compiler version and the canonical definition bytes; a cache key, equal on every machine.
    pub hash: [u8; 32],
    /// Name of the workflow.
    pub name: Box<str>,
    /// Version of the workflow.
    pub version: Box<str>,
    /// The definition in canonical JSON with the defaults of functions filled in; compiles to this same IR again.
    pub canonical: Box<[u8]>,
    /// JSON Schema of the inputs (draft 2020-12), canonical bytes.
    pub inputs_schema: Option<Arc<[u8]>>,
    /// All nodes of all graphs; those of one graph are contiguous and in topological order.
    pub nodes: Box<[Node]>,
    /// All edges, sorted by (source, target).
    pub edges: Box<[Edge]>,
    /// Edge indexes grouped by target.
    pub in_edges: Box<[EdgeIx]>,
    /// Graph 0 is the workflow; the others are bodies of maps and loops.
    pub graphs: Box<[Graph]>,
    /// Time limit of the whole run.
    pub timeout_ns: Option<i64>,
    /// Time limit of the compensation of a run.
    pub compensation_timeout_ns: Option<i64>,
    /// Names of the functions used (nodes and compensations), sorted, without duplicates.
    pub functions: Box<[Box<str>]>,
    /// The schema of the inputs, compiled at the first check.
    pub(crate) inputs_check: Arc<OnceLock<Schema>>,
    pub(crate) by_id: HashMap<Id, NodeIx>,
    /// What `canonical` says, once a patch was resolved against it.
    pub(crate) tree: OnceLock<Value>,
}

/// A graph: the workflow's own or a body.
#[derive(Debug)]
pub struct Graph {
    /// The map or loop whose body this is.
    pub owner: Option<NodeIx>,
    /// Its nodes.
    pub nodes: Range<NodeIx>,
    /// Nodes without incoming edges, in definition order.
    pub roots: Box<[NodeIx]>,
    /// What the graph gives. `None`: an object of the outputs of the leaves that ended `ok`, by id.
    pub output: Option<Arc<Template>>,
    /// Nodes without outgoing edges.
    pub leaves: Box<[NodeIx]>,
}

/// A node where it stands in the graph; what it says is its [`Step`].
#[derive(Debug)]
pub struct Node {
    /// What it says, shared by the definitions that patches make of one.
    pub step: Arc<Step>,
    /// The graph it stands in.
    pub graph: GraphIx,
    /// Its place in the list of nodes of its graph, as written.
    pub place: u32,
    /// What only leads here and is cancelled once the join has fired.
    pub cancel_rest: Box<[NodeIx]>,
    /// Edges out of it.
    pub out: Range<EdgeIx>,
    /// Where its incoming edges stand in [`Ir::in_edges`].
    pub into: Range<u32>,
    /// Which parts of its output any expression reads. Empty: nothing is kept.
    pub keeps: Keeps,
    /// Where it stands in [`Ir::canonical`]: what is written the same means the same.
    pub written: Range<u32>,
}

impl Deref for Node {
    type Target = Step;

    fn deref(&self) -> &Step {
        &self.step
    }
}

/// What a node says, wherever it stands. Other nodes are named by their ids; only the graph of a body is an index.
#[derive(Debug)]
pub struct Step {
    /// Id, unique in the definition, bodies included.
    pub id: Id,
    /// What it does.
    pub kind: Kind,
    /// When it may start.
    pub join: Join,
    /// Cancel what only leads here once the join has fired.
    pub cancels_rest: bool,
    /// What the optimizer may assume, and what the saga compensates.
    pub effect: Effect,
    /// Retry policy.
    pub retry: Retry,
    /// Time limit of one attempt (start to close).
    pub timeout_ns: Option<i64>,
    /// Time limit of all attempts together, waits included, from the first request.
    pub schedule_to_close_ns: Option<i64>,
    /// Longest time without a heartbeat.
    pub heartbeat_timeout_ns: Option<i64>,
    /// When its tool or host is left alone.
    pub breaker: Option<Box<Breaker>>,
    /// Who proposes another input before it fails for good.
    pub correction: Option<Box<Correction>>,
    /// What a failure without an error edge does.
    pub on_error: OnError,
    /// What undoes it.
    pub compensation: Option<Compensation>,
    /// Order among what is ready.
    pub priority: Priority,
    /// Critical section.
    pub concurrency_key: Option<Template>,
    /// How often its tool may be called.
    pub rate_limit: Option<RateLimit>,
}

/// What the machine keeps of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing is read.
    Nothing,
    /// These members are read, sorted, none a prefix of another.
    Paths(Arc<[KeptPath]>),
    /// The whole output.
    All,
}

/// A member of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPath {
    /// Member names, from the output down.
    pub names: Box<[Box<str>]>,
    /// The same as a JSON Pointer.
    pub pointer: Box<str>,
}

/// What a node does.
#[derive(Debug)]
pub enum Kind {
    /// A registered function.
    Function {
        /// Its name.
        name: Box<str>,
        /// Yields an object: its keyword arguments.
        input: Template,
        /// Its config, with secrets by name.
        config: Option<Template>,
    },
    /// An HTTP request.
    Http(Http),
    /// A call of a model.
    Agent {
        /// Which model; empty: that of the settings.
        model: Box<str>,
        /// It may propose a patch of its run in its result.
        may_patch: bool,
        /// The whole config; expressions are in its prompt only.
        config: Template,
    },
    /// A body for each item of a list.
    Map {
        /// Yields the list.
        over: Template,
        /// The body.
        body: GraphIx,
        /// Items in flight. Default 64.
        max_concurrency: u32,
        /// Items at all, from [`crate::Limits`].
        items_max: u32,
        /// An item that fails gives null instead of failing the map.
        skip_item_errors: bool,
    },
    /// Only joins.
    Join,
    /// Another workflow.
    Composite {
        /// Its name.
        workflow: Box<str>,
        /// A version of it, or
        version: Option<Box<str>>,
        /// a tag: exactly one is stated.
        tag: Option<Box<str>>,
        /// Yields its inputs.
        inputs: Template,
    },
    /// A body again and again.
    Loop {
        /// The body.
        body: GraphIx,
        /// Goes on while this is true.
        condition: Expression,
        /// Iterations at most.
        max_iterations: u32,
    },
    /// A wait.
    Timer(Timer),
    /// A wait for a signal.
    Signal {
        /// Its name.
        name: Template,
        /// Which of that name, by `signal.payload`; one that it fails for does not fit.
        matches: Option<Expression>,
        /// How long.
        timeout_ns: Option<i64>,
        /// The end of the time is no failure.
        continues: bool,
        /// It sends one and waits for none.
        send: Option<Box<Send>>,
    },
    /// A wait for a person.
    Approval(Approval),
}

/// The type of a node, as written in a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum NodeType {
    Function,
    Http,
    Agent,
    Map,
    Join,
    Composite,
    Loop,
    Timer,
    Signal,
    Approval,
}

/// An HTTP request. Values inserted into `url` are percent-encoded and never form scheme, user, host or port.
#[derive(Debug)]
pub struct Http {
    /// Method, upper case.
    pub method: Box<str>,
    /// URL with its expressions; [`Template::render_url`] applies the rules of RFC 3986.
    pub url: Template,
    /// Query parameters (an object).
    pub query: Option<Template>,
    /// Headers (an object of strings, or `{"secret": name}`).
    pub headers: Option<Template>,
    /// Body (any value; sent as JSON unless it is a string).
    pub body: Option<Template>,
    /// Statuses that count as success; empty: 200 to 299.
    pub expect_status: Box<[u16]>,
}

/// A wait for a time.
#[derive(Debug)]
pub enum Timer {
    /// Seconds, a number when evaluated.
    Duration(Template),
    /// RFC 3339, a string when evaluated.
    Until(Template),
}

/// A signal to another run.
#[derive(Debug)]
pub struct Send {
    /// Yields the id of the run.
    pub run_id: Template,
    /// Yields what it carries.
    pub payload: Template,
}

/// How often a tool may be called: `burst` at once, then `count` in `per_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls
    pub count: u32,
    /// in this time.
    pub per_ns: i64,
    /// Calls at once after a rest, at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// Time between two calls at the full rate.
    #[must_use]
    pub fn interval_ns(&self) -> i64 {
        (self.per_ns / i64::from(self.count.max(1))).max(1)
    }
}

/// A wait for a person.
#[derive(Debug)]
pub struct Approval {
    /// What is asked.
    pub prompt: Template,
    /// How long.
    pub timeout_ns: Option<i64>,
    /// What then.
    pub on_timeout: OnTimeout,
    /// Who else is asked.
    pub escalate_to: Box<[Box<str>]>,
    /// After how long.
    pub escalate_after_ns: Option<i64>,
}

/// What the end of an approval's time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnTimeout {
    Reject,
    Approve,
    Fail,
}

/// A dependency.
#[derive(Debug)]
pub struct Edge {
    /// Source.
    pub from: NodeIx,
    /// Target.
    pub to: NodeIx,
    /// Taken only where this is true.
    pub when: Option<Arc<Expression>>,
    /// The way for failures (`on: "error"`).
    pub on_error: bool,
    /// Its place in the list of edges of its graph, as written.
    pub place: u32,
    /// Where it stands in [`Ir::canonical`].
    pub written: Range<u32>,
}

/// When a node may start. Each incoming edge settles once, live or dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// When all are settled: runs if one is live, else is skipped.
    All,
    /// At the first live one; skipped when all are dead.
    Any,
    /// At the nth live one; skipped (or, if required, the run fails) once it cannot be reached.
    Quorum {
        /// How many.
        n: u32,
        /// Whether missing it fails the run.
        required: bool,
    },
}

/// What a node does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Effect {
    Pure,
    Read,
    Write,
}

/// What a failure that no error edge takes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnError {
    Fail,
    Continue,
}

/// Order among what is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Priority {
    Low,
    Medium,
    High,
}

/// A retry policy. The delay before attempt n+1 is min(initial * factor^(n-1), max), times 1 ± jitter by a hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts in all, at least 1. Default 1.
    pub max_attempts: u32,
    /// First delay. Default 0.2 s.
    pub initial_ns: i64,
    /// Growth. Default 2.
    pub factor: f64,
    /// Longest delay. Default 30 s.
    pub max_ns: i64,
    /// Share of the delay, 0 to 1. Default 0.2.
    pub jitter: f64,
    /// Error types that are never retried.
    pub non_retryable: Box<[Box<str>]>,
    /// Classes of errors with a policy of their own; the first that names the type wins.
    pub by_error: Box<[ErrorRetry]>,
}

/// The policy of a class of errors.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorRetry {
    /// Error types.
    pub types: Box<[Box<str>]>,
    /// Their policy; its `non_retryable` and `by_error` are empty.
    pub retry: Retry,
}

impl Retry {
    /// The policy of an error: that of the first class that names its type, else the plain one.
    #[must_use]
    pub fn of(&self, kind: &str) -> &Retry {
        let class = self.by_error.iter().find(|class| class.types.iter().any(|known| **known == *kind));
        class.map_or(self, |class| &class.retry)
    }

    /// Whether attempt `attempt`, which failed with this type of error, is followed by another one.
    #[must_use]
    pub fn goes_on(&self, kind: &str, attempt: u32) -> bool {
        attempt < self.of(kind).max_attempts && !self.non_retryable.iter().any(|never| **never == *kind)
    }

    /// How many attempts there may be, whatever they fail with.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        let classes = self.by_error.iter().map(|class| class.retry.max_attempts);
        classes.fold(self.max_attempts, u32::max)
    }
}

/// When a tool or host that fails is left alone for a while.
#[derive(Debug)]
pub struct Breaker {
    /// So many failures in a row open it. Default 5.
    pub failure_threshold: u32,
    /// How long it stays open. Default 30 s.
    pub timeout_ns: i64,
    /// Requests that are let through to see whether it is well again. Default 1.
    pub probes: u32,
    /// What a node gives while it is open, instead of failing.
    pub fallback: Option<Fallback>,
}

/// What a node gives while its breaker is open.
#[derive(Debug)]
pub enum Fallback {
    /// This value.
    Value(Template),
    /// What the tool gave last for the same input.
    Cached,
}

/// Who proposes another input before a node fails for good.
#[derive(Debug)]
pub struct Correction {
    /// The model; empty: the one of the settings.
    pub model: Box<str>,
    /// What the model is told, plain text.
    pub instructions: Box<str>,
    /// Corrections at most. Default 1.
    pub max_attempts: u32,
    /// Time limit of the model's answer. Default 60 s.
    pub timeout_ns: i64,
}

/// What undoes a node.
#[derive(Debug)]
pub struct Compensation {
    /// Registered function.
    pub name: Box<str>,
    /// Its keyword arguments.
    pub input: Template,
    /// Its retry policy; default 3 attempts.
    pub retry: Retry,
    /// Time limit of one attempt.
    pub timeout_ns: Option<i64>,
}

impl Keeps {
    /// The kept path that `path` is or goes on below. `None` when all or nothing is kept, or the path is not kept.
    #[must_use]
    pub fn locate<S: AsRef<str>>(&self, path: &[S]) -> Option<&KeptPath> {
        let Keeps::Paths(paths) = self else { return None };
        paths.iter().find(|kept| {
            kept.names.len() <= path.len() && kept.names.iter().zip(path).all(|(have, want)| **have == *want.as_ref())
        })
    }
}

impl Ir {
    /// Checks the inputs of a run: that they are a value, and valid under the schema where the workflow has one.
    ///
    /// # Errors
    /// All faults, with pointers into the inputs.
    pub fn check_inputs(&self, inputs: &[u8]) -> Result<(), Vec<Diagnostic>> {
        let limits = ValueLimits::default();
        let document = read(inputs, &limits).map_err(|error| vec![error.into()])?;
        let Some(schema) = &self.inputs_schema else { return Ok(()) };
        self.inputs_check.get_or_init(|| Schema::of_canonical(schema)).check(&document)
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<NodeIx> {
        self.by_id.get(id).copied()
    }

    /// What `canonical` says, as a tree.
    pub(crate) fn tree(&self) -> &Value {
        let limits = ValueLimits { bytes_max: self.canonical.len(), ..ValueLimits::default() };
        self.tree.get_or_init(|| parse(&self.canonical, &limits).unwrap_or(Value::Null))
    }

    /// Where a node stands in the definition (JSON Pointer).
    #[must_use]
    pub fn pointer_of(&self, node: &Node) -> String {
        format!("{}/nodes/{}", self.pointer_of_graph(node.graph), node.place)
    }

    /// Where an edge stands in the definition (JSON Pointer).
    #[must_use]
    pub fn pointer_of_edge(&self, edge: &Edge) -> String {
        let graph = self.nodes[edge.from as usize].graph;
        format!("{}/edges/{}", self.pointer_of_graph(graph), edge.place)
    }

    /// Where a graph stands in the definition (JSON Pointer): the workflow's own is the whole.
    fn pointer_of_graph(&self, graph: GraphIx) -> String {
        let owner = self.graphs[graph as usize].owner.map(|owner| &self.nodes[owner as usize]);
        owner.map_or_else(String::new, |owner| format!("{}/config/body", self.pointer_of(owner)))
    }

    /// What a node or an edge says, canonical JSON.
    #[must_use]
    pub fn text_of(&self, written: &Range<u32>) -> &[u8] {
        &self.canonical[written.start as usize..written.end as usize]
    }

    /// The edges into a node.
    pub fn incoming(&self, node: NodeIx) -> impl ExactSizeIterator<Item = (EdgeIx, &Edge)> {
        let range = self.nodes[node as usize].into.clone();
        self.in_edges[range.start as usize..range.end as usize].iter().map(|&e| (e, &self.edges[e as usize]))
    }

    /// The edges out of a node.
    #[must_use]
    pub fn outgoing(&self, node: NodeIx) -> &[Edge] {
        let range = self.nodes[node as usize].out.clone();
        &self.edges[range.start as usize..range.end as usize]
    }
}
