//! What operations touch, and where two patches touch the same.

use super::operation::{EdgeKey, Operation};
use super::parts::Parts;
use super::pointer::Pointer;
use crate::id::Id;
use crate::value::Value;
use std::collections::BTreeMap;

/// An operation that touches what another patch changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Place of the operation among those looked at.
    pub operation: usize,
    /// Place of the other patch among the others.
    pub patch: usize,
    /// What both touch, for people: `the edge a → b`, `/config/url of fetch`.
    pub what: String,
}

/// What can be touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Workflow,
    Node(Id),
    Edge(EdgeKey),
}

/// A part of a thing that an operation changes, or needs to be as it is.
struct Touch {
    thing: Thing,
    at: Pointer,
    changes: bool,
}

/// Where operations touch what other patches changed: each pair of operation and patch once. What stands in whose
/// place in a list is no conflict, nor are two edges into one node.
#[must_use]
pub fn conflicts(mine: &[Operation], others: &[&[Operation]]) -> Vec<Conflict> {
    let mut touched: BTreeMap<Thing, Vec<(usize, Pointer, bool)>> = BTreeMap::new();
    for (patch, operations) in others.iter().enumerate() {
        for touch in operations.iter().flat_map(touches) {
            touched.entry(touch.thing).or_default().push((patch, touch.at, touch.changes));
        }
    }
    let mut found: Vec<Conflict> = Vec::new();
    for (at, operation) in mine.iter().enumerate() {
        for touch in touches(operation) {
            for (patch, place, changes) in touched.get(&touch.thing).into_iter().flatten() {
                let overlap = touch.at.holds(place) || place.holds(&touch.at);
                let known = |conflict: &Conflict| conflict.operation == at && conflict.patch == *patch;
                if overlap && (*changes || touch.changes) && !found.iter().any(known) {
                    let deeper = if touch.at.holds(place) { place } else { &touch.at };
                    found.push(Conflict { operation: at, patch: *patch, what: named(&touch.thing, deeper) });
                }
            }
        }
    }
    found
}

fn named(thing: &Thing, at: &Pointer) -> String {
    match thing {
        Thing::Workflow => format!("{at} of the workflow"),
        Thing::Node(id) if at.tokens().is_empty() || *at == identity() => format!("the node {id}"),
        Thing::Node(id) => format!("{at} of {id}"),
        Thing::Edge(key) => format!("the edge {key}"),
    }
}

/// What of a node is needed by those who only need that it is there.
fn identity() -> Pointer {
    Pointer::new(["id"])
}

fn touches(operation: &Operation) -> Vec<Touch> {
    let node = |id: &str, at: Pointer, changes: bool| Touch { thing: Thing::Node(id.into()), at, changes };
    let needs = |id: &str| node(id, identity(), false);
    let member = |of: &Option<Id>, at: &Pointer| match of {
        Some(id) => node(id, at.clone(), true),
        None => Touch { thing: Thing::Workflow, at: at.clone(), changes: true },
    };
    let edge = |key: &EdgeKey| {
        let changed = Touch { thing: Thing::Edge(key.clone()), at: Pointer::default(), changes: true };
        vec![changed, needs(&key.from), needs(&key.to)]
    };
    match operation {
        Operation::AddNode { body, node: value, .. } => {
            let mut parts = Parts::empty();
            // What does not fit is refused where it is applied.
            let _ = parts.put_node(None, value);
            let mut out: Vec<Touch> =
                added_nodes(operation).iter().map(|id| node(id, Pointer::default(), true)).collect();
            out.extend(parts.edge_keys().flat_map(edge));
            // The body must be there, whatever else of its owner changes.
            out.extend(body.as_deref().map(|owner| node(owner, Pointer::new(["config", "body", "nodes"]), false)));
            out
        }
        Operation::RemoveNode { id } => vec![node(id, Pointer::default(), true)],
        Operation::MoveNode { id, .. } => vec![needs(id)],
        Operation::AddEdge { edge: value, .. } | Operation::ReplaceEdge { edge: value } => {
            EdgeKey::of(value).map(|key| edge(&key)).unwrap_or_default()
        }
        Operation::RemoveEdge { edge: key } => edge(key),
        Operation::MoveEdge { edge: key, .. } => {
            vec![Touch { thing: Thing::Edge(key.clone()), at: Pointer::default(), changes: false }]
        }
        Operation::Set { node, at, .. } | Operation::Unset { node, at } => vec![member(node, at)],
    }
}

/// How many nodes the operations add, bodies included.
#[must_use]
pub fn nodes_added(operations: &[Operation]) -> usize {
    operations.iter().map(|operation| added_nodes(operation).len()).sum()
}

/// The ids of the nodes that an operation adds, bodies included.
#[must_use]
pub fn added_nodes(operation: &Operation) -> Vec<Id> {
    added(operation).map_or_else(Vec::new, |(id, parts)| {
        // It stands in no graph itself.
        std::iter::once(id).chain(parts.ids().cloned()).collect()
    })
}

/// An agent node that an operation adds, in a body or not.
#[must_use]
pub fn adds_agent(operation: &Operation) -> Option<Id> {
    let (_, parts) = added(operation)?;
    let is_agent = |id: &Id| {
        parts.nodes.get(id).is_some_and(|node| node.value.member("type").and_then(Value::as_text) == Some("agent"))
    };
    added_nodes(operation).into_iter().find(is_agent)
}

/// What an operation adds, taken apart, and the id of the node that holds the rest.
fn added(operation: &Operation) -> Option<(Id, Parts)> {
    let Operation::AddNode { node, .. } = operation else { return None };
    let mut parts = Parts::empty();
    let id = parts.put_node(None, node).ok()?;
    Some((id, parts))
}
