//! What a pass is given.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The input document, format 1.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// The definition in canonical form; pointers in the facts and in a patch are pointers into it.
    pub definition: Value,
    /// What the compiler knows of it.
    pub facts: Facts,
    /// What was observed of its runs, where it was.
    pub profile: Option<Profile>,
}

/// What the compiler knows of a definition.
#[derive(Debug, Deserialize)]
pub struct Facts {
    /// All nodes, bodies included; those of one graph in topological order.
    pub nodes: Vec<Node>,
    /// All edges.
    pub edges: Vec<Edge>,
    /// The outputs of the workflow and of each body.
    pub outputs: Vec<Output>,
}

/// A node.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Its id, unique in the definition.
    pub id: String,
    /// JSON Pointer of it.
    pub at: String,
    /// The map or loop in whose body it stands.
    #[serde(rename = "in")]
    pub body_of: Option<String>,
    /// Its type, as written.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it does to the world.
    pub effect: Effect,
    /// What its expressions read; a body's stand at the body's nodes.
    pub reads: Vec<Read>,
}

/// What a node does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The same input gives the same output.
    Pure,
    /// It looks at the world.
    Read,
    /// It changes the world.
    Write,
}

/// An edge.
#[derive(Debug, Deserialize)]
pub struct Edge {
    /// Source.
    pub from: String,
    /// Target.
    pub to: String,
    /// JSON Pointer of it.
    pub at: String,
    /// The way for failures.
    pub on_error: bool,
    /// What its guard reads.
    pub reads: Vec<Read>,
}

/// An output.
#[derive(Debug, Deserialize)]
pub struct Output {
    /// The map or loop whose body it is; none: the workflow.
    pub of: Option<String>,
    /// Without a stated one, the outputs of the leaves are given.
    pub stated: bool,
    /// What it reads.
    pub reads: Vec<Read>,
}

/// Something that an expression reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Read {
    /// `output`, `status` or `error` of a node; `inputs`, `item`, `index`, `iteration`, `last`, `signal`, `run_id`,
    /// `run_started_at`.
    pub what: String,
    /// The node.
    pub node: Option<String>,
    /// Member names below it.
    #[serde(default)]
    pub path: Vec<String>,
}

/// What was observed of runs of a definition.
#[derive(Debug, Default, Deserialize)]
pub struct Profile {
    /// By node id.
    pub nodes: BTreeMap<String, Observed>,
}

/// What was observed of a node.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Observed {
    /// How often it starts in a run, on average.
    pub starts_per_run: f64,
    /// How long it takes, in seconds, on average.
    pub mean_s: f64,
}
