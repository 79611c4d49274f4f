//! Operations on ids: what a patch is once it is resolved. They name nodes and edges, never places in a list, so they
//! say the same whatever others changed around them.

use super::parts::{Misfit, Owner, Parts, holds_graph, node_id};
use super::pointer::Pointer;
use crate::id::Id;
use crate::value::{Value, ValueLimits, parse};
use std::fmt;
use std::sync::Arc;

/// What an edge is known by: there is one at most of each kind between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// Source.
    pub from: Id,
    /// Target.
    pub to: Id,
    /// The way for failures.
    pub on_error: bool,
}

/// After what something stands in its list. The order of a list is no promise: where what is named is not there, it
/// stands at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After<K> {
    /// At the end.
    All,
    /// At the beginning.
    Nothing,
    /// After this one.
    This(K),
}

/// An operation on ids.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A node, with its body where it has one.
    AddNode {
        /// The map or loop in whose body it stands.
        body: Option<Id>,
        /// Its place in the list.
        after: After<Id>,
        /// As in a definition.
        node: Value,
    },
    /// A node is taken away; its edges are taken away by themselves.
    RemoveNode {
        /// Which.
        id: Id,
    },
    /// A node stands elsewhere in the list of its graph.
    MoveNode {
        /// Which.
        id: Id,
        /// Where.
        after: After<Id>,
    },
    /// An edge.
    AddEdge {
        /// Its place in the list.
        after: After<EdgeKey>,
        /// As in a definition.
        edge: Value,
    },
    /// An edge is taken away.
    RemoveEdge {
        /// Which.
        edge: EdgeKey,
    },
    /// Another guard for an edge.
    ReplaceEdge {
        /// As in a definition.
        edge: Value,
    },
    /// An edge stands elsewhere in the list of its graph.
    MoveEdge {
        /// Which.
        edge: EdgeKey,
        /// Where.
        after: After<EdgeKey>,
    },
    /// A member of a node (or of the workflow) gets a value.
    Set {
        /// Of which node; `None` is the workflow.
        node: Option<Id>,
        /// The member, through objects only.
        at: Pointer,
        /// What it gets.
        value: Value,
    },
    /// A member of a node (or of the workflow) is taken away.
    Unset {
        /// Of which node; `None` is the workflow.
        node: Option<Id>,
        /// The member, through objects only.
        at: Pointer,
    },
}

impl EdgeKey {
    pub(crate) fn of(edge: &Value) -> Result<Self, Misfit> {
        let end = |name: &str| edge.member(name).and_then(shared_text);
        match (end("from"), end("to")) {
            (Some(from), Some(to)) => Ok(Self { from, to, on_error: edge.member("on").is_some() }),
            _ => Err("an edge is an object with `from` and `to`".to_owned()),
        }
    }

    fn to_value(&self) -> Value {
        let (from, to) = (("from", Value::text(&self.from)), ("to", Value::text(&self.to)));
        match self.on_error {
            true => Value::object([from, to, ("on", Value::text("error"))]),
            false => Value::object([from, to]),
        }
    }
}

/// The text of a string, not copied.
pub(crate) fn shared_text(value: &Value) -> Option<Id> {
    match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

impl fmt::Display for EdgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}{}", self.from, self.to, if self.on_error { " (on error)" } else { "" })
    }
}

/// Puts a key into a list, after another one.
fn put<K: PartialEq + Clone>(list: &mut Vec<K>, key: K, after: &After<K>) {
    let place = match after {
        After::Nothing => 0,
        After::All => list.len(),
        After::This(before) => list.iter().position(|have| have == before).map_or(list.len(), |place| place + 1),
    };
    list.insert(place, key);
}

impl Operation {
    /// Applies it.
    pub(crate) fn apply(&self, parts: &mut Parts) -> Result<(), Misfit> {
        match self {
            Operation::AddNode { body, after, node } => {
                if !parts.graphs.contains_key(body) {
                    return Err(format!("there is no body of {:?}", body.as_deref().unwrap_or_default()));
                }
                let id = parts.put_node(body.clone(), node)?;
                if let Some(graph) = parts.graphs.get_mut(body) {
                    put(&mut graph.nodes, id, after);
                }
            }
            Operation::RemoveNode { id } => drop(parts.take_node(id).ok_or_else(|| no_node(id))?),
            Operation::MoveNode { id, after } => {
                let owner = &parts.nodes.get(id).ok_or_else(|| no_node(id))?.owner;
                if let Some(graph) = parts.graphs.get_mut(owner) {
                    graph.nodes.retain(|have| have != id);
                    put(&mut graph.nodes, id.clone(), after);
                }
            }
            Operation::AddEdge { after, edge } => {
                let key = EdgeKey::of(edge)?;
                let owner = owner(parts, &key)?;
                if parts.edges.contains_key(&key) {
                    return Err(format!("the edge {key} is there already"));
                }
                parts.edges.insert(key.clone(), edge.clone());
                if let Some(graph) = parts.graphs.get_mut(&owner) {
                    graph.states_edges = true;
                    put(&mut graph.edges, key, after);
                }
            }
            Operation::RemoveEdge { edge } => {
                parts.edges.remove(edge).ok_or_else(|| no_edge(edge))?;
                parts.graphs.values_mut().for_each(|graph| graph.edges.retain(|have| have != edge));
            }
            Operation::ReplaceEdge { edge } => {
                let key = EdgeKey::of(edge)?;
                *parts.edges.get_mut(&key).ok_or_else(|| no_edge(&key))? = edge.clone();
            }
            Operation::MoveEdge { edge, after } => {
                let graph = parts.graphs.values_mut().find(|graph| graph.edges.contains(edge));
                let graph = graph.ok_or_else(|| no_edge(edge))?;
                graph.edges.retain(|have| have != edge);
                put(&mut graph.edges, edge.clone(), after);
            }
            Operation::Set { node, at, value } => {
                let (name, holder) = member_holder(parts, node, at)?;
                holder.set(&name, value.clone());
                check_shape(parts, node)?;
            }
            Operation::Unset { node, at } => {
                let (name, holder) = member_holder(parts, node, at)?;
                holder.take(&name).ok_or_else(|| not_there(node, at))?;
                check_shape(parts, node)?;
            }
        }
        Ok(())
    }

    /// The operation as JSON, as it stands in the log.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let id = |id: &str| Value::text(id);
        let node_after = |after: &After<Id>| match after {
            After::All => None,
            After::Nothing => Some(Value::Null),
            After::This(before) => Some(id(before)),
        };
        let edge_after = |after: &After<EdgeKey>| match after {
            After::All => None,
            After::Nothing => Some(Value::Null),
            After::This(before) => Some(before.to_value()),
        };
        let op = match self {
            Operation::AddNode { .. } => "add_node",
            Operation::RemoveNode { .. } => "remove_node",
            Operation::MoveNode { .. } => "move_node",
            Operation::AddEdge { .. } => "add_edge",
            Operation::RemoveEdge { .. } => "remove_edge",
            Operation::ReplaceEdge { .. } => "replace_edge",
            Operation::MoveEdge { .. } => "move_edge",
            Operation::Set { .. } => "set",
            Operation::Unset { .. } => "unset",
        };
        let members = match self {
            Operation::AddNode { body, after, node } => {
                vec![("body", body.as_deref().map(id)), ("after", node_after(after)), ("node", Some(node.clone()))]
            }
            Operation::RemoveNode { id: gone } => vec![("id", Some(id(gone)))],
            Operation::MoveNode { id: moved, after } => vec![("id", Some(id(moved))), ("after", node_after(after))],
            Operation::AddEdge { after, edge } => vec![("after", edge_after(after)), ("edge", Some(edge.clone()))],
            Operation::RemoveEdge { edge } => vec![("edge", Some(edge.to_value()))],
            Operation::ReplaceEdge { edge } => vec![("edge", Some(edge.clone()))],
            Operation::MoveEdge { edge, after } => {
                vec![("edge", Some(edge.to_value())), ("after", edge_after(after))]
            }
            Operation::Set { node, at, value } => vec![
                ("node", node.as_deref().map(id)),
                ("at", Some(Value::text(&at.to_string()))),
                ("value", Some(value.clone())),
            ],
            Operation::Unset { node, at } => {
                vec![("node", node.as_deref().map(id)), ("at", Some(Value::text(&at.to_string())))]
            }
        };
        let mut value = Value::object([("op", Value::text(op))]);
        if let Value::Map(map) = &mut value {
            let map = Arc::make_mut(map);
            members.into_iter().for_each(|(name, member)| {
                if let Some(member) = member {
                    map.set(name, member);
                }
            });
        }
        value
    }

    fn from_value(value: &Value) -> Result<Self, Misfit> {
        let missing = |name: &str| format!("an operation needs the member {name:?}");
        let text = |name: &str| value.member(name).and_then(shared_text);
        let needed = |name: &str| text(name).ok_or_else(|| missing(name));
        let member = |name: &str| value.member(name).cloned().ok_or_else(|| missing(name));
        let at = || Pointer::parse(&needed("at")?).map_err(|error| error.message);
        let node_after = || match value.member("after") {
            None => Ok(After::All),
            Some(Value::Null) => Ok(After::Nothing),
            Some(_) => needed("after").map(After::This),
        };
        let edge_after = || match value.member("after") {
            None => Ok(After::All),
            Some(Value::Null) => Ok(After::Nothing),
            Some(key) => EdgeKey::of(key).map(After::This),
        };
        Ok(match value.member("op").and_then(Value::as_text) {
            Some("add_node") => {
                let node = member("node")?;
                node_id(&node)?;
                Operation::AddNode { body: text("body"), after: node_after()?, node }
            }
            Some("remove_node") => Operation::RemoveNode { id: needed("id")? },
            Some("move_node") => Operation::MoveNode { id: needed("id")?, after: node_after()? },
            Some("add_edge") => {
                let edge = member("edge")?;
                EdgeKey::of(&edge)?;
                Operation::AddEdge { after: edge_after()?, edge }
            }
            Some("remove_edge") => Operation::RemoveEdge { edge: EdgeKey::of(&member("edge")?)? },
            Some("replace_edge") => {
                let edge = member("edge")?;
                EdgeKey::of(&edge)?;
                Operation::ReplaceEdge { edge }
            }
            Some("move_edge") => Operation::MoveEdge { edge: EdgeKey::of(&member("edge")?)?, after: edge_after()? },
            Some("set") => Operation::Set { node: text("node"), at: at()?, value: member("value")? },
            Some("unset") => Operation::Unset { node: text("node"), at: at()? },
            _ => return Err("there is no such operation on ids".to_owned()),
        })
    }
}

/// The canonical JSON of operations: what is logged.
#[must_use]
pub fn write_operations(operations: &[Operation]) -> Vec<u8> {
    let mut out = Vec::new();
    Value::list(operations.iter().map(Operation::to_value).collect()).write_canonical(&mut out);
    out
}

/// Reads what [`write_operations`] wrote.
///
/// # Errors
/// One sentence; it only happens to bytes that were not written so.
pub fn read_operations(bytes: &[u8]) -> Result<Vec<Operation>, String> {
    let limits = ValueLimits { bytes_max: usize::MAX, ..ValueLimits::default() };
    let value = parse(bytes, &limits).map_err(|error| error.message)?;
    value.items().iter().map(Operation::from_value).collect()
}

/// The graph of an edge: that of both its ends.
fn owner(parts: &Parts, key: &EdgeKey) -> Result<Owner, Misfit> {
    let of = |id: &str| match parts.nodes.get(id) {
        Some(node) => Ok(node.owner.clone()),
        None if parts.is_window => Ok(None),
        None => Err(no_node(id)),
    };
    let (from, to) = (of(&key.from)?, of(&key.to)?);
    if from != to {
        return Err(format!("the ends of the edge {key} stand in two graphs"));
    }
    Ok(from)
}

/// The object that holds a member, and the member's name.
fn member_holder<'p>(
    parts: &'p mut Parts,
    node: &Owner,
    at: &Pointer,
) -> Result<(Box<str>, &'p mut crate::value::Map), Misfit> {
    let Some((name, above)) = at.tokens().split_last() else {
        return Err("a member is set, not the whole".to_owned());
    };
    let mut value = match node {
        None => &mut parts.workflow,
        Some(id) => &mut parts.nodes.get_mut(id).ok_or_else(|| no_node(id))?.value,
    };
    for token in above {
        let Value::Map(map) = value else { return Err(not_there(node, at)) };
        value = Arc::make_mut(map).member_mut(token).ok_or_else(|| not_there(node, at))?;
    }
    match value {
        Value::Map(map) => Ok((name.clone(), Arc::make_mut(map))),
        _ => Err(not_there(node, at)),
    }
}

/// Setting members makes no graph, drops none, and changes no id: nodes are added and removed for that.
fn check_shape(parts: &Parts, node: &Owner) -> Result<(), Misfit> {
    let stray = |value: Option<&Value>| {
        value.is_some_and(|value| value.member("nodes").is_some() || value.member("edges").is_some())
    };
    let Some(id) = node else {
        return match stray(Some(&parts.workflow)) {
            true => Err("nodes and edges are added and removed by their ids".to_owned()),
            false => Ok(()),
        };
    };
    let Some(value) = parts.nodes.get(id).map(|node| &node.value) else { return Err(no_node(id)) };
    let holds = holds_graph(value);
    let body = value.member("config").and_then(|config| config.member("body"));
    if value.member("id").and_then(Value::as_text) != Some(id)
        || holds != parts.graphs.contains_key(node)
        || (holds && stray(body))
    {
        return Err(format!("a member of {id:?} cannot change its id or its body"));
    }
    Ok(())
}

fn no_node(id: &str) -> Misfit {
    format!("there is no node {id:?}")
}

fn no_edge(key: &EdgeKey) -> Misfit {
    format!("there is no edge {key}")
}

fn not_there(node: &Owner, at: &Pointer) -> Misfit {
    match node {
        Some(id) => format!("{:?} of {id:?} is not there", at.to_string()),
        None => format!("{:?} of the workflow is not there", at.to_string()),
    }
}
