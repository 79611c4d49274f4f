//! A definition taken apart by id, so that its parts can be named without knowing where they stand.

use super::operation::{EdgeKey, shared_text};
use crate::id::{HashMap, Id};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The map or loop in whose body something stands; `None` is the workflow's own graph.
pub(crate) type Owner = Option<Id>;

/// A definition taken apart. Put together again it is the same.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// The workflow without its nodes and edges.
    pub(crate) workflow: Value,
    pub(crate) graphs: BTreeMap<Owner, Graph>,
    /// Looked up only: the graphs say in which order they are.
    pub(crate) nodes: HashMap<Id, Node>,
    pub(crate) edges: HashMap<EdgeKey, Value>,
    /// A part of a definition ([`super::window`]): nodes that are not here stand in the workflow's own graph.
    pub(crate) is_window: bool,
}

/// What stands in a graph, in the order written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Id>,
    pub(crate) edges: Vec<EdgeKey>,
    /// Whether there is a list of edges, be it empty.
    pub(crate) states_edges: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) owner: Owner,
    /// Without the nodes and edges of its body.
    pub(crate) value: Value,
}

/// Why something is no definition that can be taken apart, or an operation does not fit one.
pub(crate) type Misfit = String;

/// Whether the node holds a graph. Only maps and loops do: the body of an HTTP request is data.
pub(crate) fn holds_graph(node: &Value) -> bool {
    matches!(node.member("type").and_then(Value::as_text), Some("map" | "loop"))
        && node
            .member("config")
            .and_then(|config| config.member("body"))
            .is_some_and(|body| matches!(body, Value::Map(_)))
}

impl Parts {
    pub(crate) fn of(definition: &Value) -> Result<Self, Misfit> {
        let mut workflow = definition.clone();
        let Value::Map(members) = &mut workflow else { return Err("a workflow is an object".to_owned()) };
        let members = Arc::make_mut(members);
        let (nodes, edges) = (members.take("nodes"), members.take("edges"));
        let mut parts = Self { workflow, ..Self::empty() };
        parts.put_graph(None, nodes, edges)?;
        Ok(parts)
    }

    pub(crate) fn empty() -> Self {
        Self {
            workflow: Value::Null,
            graphs: BTreeMap::new(),
            nodes: HashMap::default(),
            edges: HashMap::default(),
            is_window: false,
        }
    }

    /// Whether both are put together to the same definition.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_node = |id: &Id| match (self.nodes.get(id), other.nodes.get(id)) {
            (Some(one), Some(other)) => one.owner == other.owner && one.value.is_same_json(&other.value),
            _ => false,
        };
        let same_edge = |key: &EdgeKey| match (self.edges.get(key), other.edges.get(key)) {
            (Some(one), Some(other)) => one.is_same_json(other),
            _ => false,
        };
        // The graphs name every node and every edge.
        self.workflow.is_same_json(&other.workflow)
            && self.graphs == other.graphs
            && self.ids().all(same_node)
            && self.edge_keys().all(same_edge)
    }

    /// All nodes, graph by graph.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.graphs.values().flat_map(|graph| &graph.nodes)
    }

    /// All edges, graph by graph.
    pub(crate) fn edge_keys(&self) -> impl Iterator<Item = &EdgeKey> {
        self.graphs.values().flat_map(|graph| &graph.edges)
    }

    /// Puts a graph and what stands in it, bodies included; they are nested as deep as documents are.
    fn put_graph(&mut self, owner: Owner, nodes: Option<Value>, edges: Option<Value>) -> Result<(), Misfit> {
        let mut graph = Graph { states_edges: edges.is_some(), ..Graph::default() };
        let count = |list: &Option<Value>| list.as_ref().map_or(0, |list| list.items().len());
        self.nodes.reserve(count(&nodes));
        self.edges.reserve(count(&edges));
        for node in nodes.iter().flat_map(Value::items) {
            graph.nodes.push(self.put_node(owner.clone(), node)?);
        }
        for edge in edges.iter().flat_map(Value::items) {
            let key = EdgeKey::of(edge)?;
            if self.edges.insert(key.clone(), edge.clone()).is_some() {
                return Err(format!("the edge {key} stands twice"));
            }
            graph.edges.push(key);
        }
        self.graphs.insert(owner, graph);
        Ok(())
    }

    /// Puts a node with its body; gives its id.
    pub(crate) fn put_node(&mut self, owner: Owner, node: &Value) -> Result<Id, Misfit> {
        let id = node_id(node)?;
        if self.nodes.contains_key(&id) {
            return Err(format!("the node {id:?} is there already"));
        }
        let mut value = node.clone();
        let mut graph = None;
        if holds_graph(node)
            && let Some(body) = body_mut(&mut value)
        {
            graph = Some((body.take("nodes"), body.take("edges")));
        }
        self.nodes.insert(id.clone(), Node { owner, value });
        if let Some((nodes, edges)) = graph {
            self.put_graph(Some(id.clone()), nodes, edges)?;
        }
        Ok(id)
    }

    /// Takes a node out, with what stands in its body.
    pub(crate) fn take_node(&mut self, id: &str) -> Option<Node> {
        let node = self.nodes.remove(id)?;
        if let Some(graph) = self.graphs.get_mut(&node.owner) {
            graph.nodes.retain(|have| **have != *id);
        }
        if let Some(graph) = self.graphs.remove(&Some(id.into())) {
            graph.edges.iter().for_each(|key| drop(self.edges.remove(key)));
            graph.nodes.iter().for_each(|inner| drop(self.take_node(inner)));
        }
        Some(node)
    }

    /// The node with its body.
    pub(crate) fn whole_node(&self, id: &str) -> Option<Value> {
        let mut value = self.nodes.get(id)?.value.clone();
        if let Some(graph) = self.graphs.get(&Some(id.into()))
            && let Some(body) = body_mut(&mut value)
        {
            self.write_graph(graph, body);
        }
        Some(value)
    }

    /// The definition, put together.
    pub(crate) fn whole(&self) -> Value {
        let mut workflow = self.workflow.clone();
        if let (Value::Map(members), Some(graph)) = (&mut workflow, self.graphs.get(&None)) {
            self.write_graph(graph, Arc::make_mut(members));
        }
        workflow
    }

    fn write_graph(&self, graph: &Graph, into: &mut crate::value::Map) {
        into.set("nodes", Value::list(graph.nodes.iter().filter_map(|id| self.whole_node(id)).collect()));
        if graph.states_edges {
            let edges = graph.edges.iter().filter_map(|key| self.edges.get(key)).cloned();
            into.set("edges", Value::list(edges.collect()));
        }
    }
}

pub(crate) fn node_id(node: &Value) -> Result<Id, Misfit> {
    node.member("id").and_then(shared_text).ok_or_else(|| "a node is an object with an id".to_owned())
}

fn body_mut(node: &mut Value) -> Option<&mut crate::value::Map> {
    let Value::Map(node) = node else { return None };
    let Value::Map(config) = Arc::make_mut(node).member_mut("config")? else { return None };
    let Value::Map(body) = Arc::make_mut(config).member_mut("body")? else { return None };
    Some(Arc::make_mut(body))
}
