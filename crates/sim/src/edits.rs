//! Changes of a definition at random: as a JSON Patch (RFC 6902), and as the definition that it makes.

use crate::chance::Chance;
use crate::definition::{Within, edge, node};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A change on its way.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// What it makes so far; `None`: an operation does not fit.
    pub(crate) document: Option<Value>,
    pub(crate) operations: Vec<Value>,
}

impl Draft {
    pub(crate) fn of(document: Value) -> Draft {
        Draft { document: Some(document), operations: Vec::new() }
    }

    /// The same operations on what may be another definition.
    pub(crate) fn again(document: Value, operations: &Value) -> Draft {
        let mut draft = Draft::of(document);
        operations.as_array().into_iter().flatten().for_each(|operation| draft.put(operation.clone()));
        draft
    }

    fn add(&mut self, path: String, value: Value) {
        self.put(json!({"op": "add", "path": path, "value": value}));
    }

    fn remove(&mut self, path: String) {
        self.put(json!({"op": "remove", "path": path}));
    }

    fn put(&mut self, operation: Value) {
        if let Some(document) = &mut self.document
            && apply(document, &operation).is_none()
        {
            self.document = None;
        }
        self.operations.push(operation);
    }

    fn list(&self, name: &str) -> Vec<Value> {
        let document = self.document.as_ref();
        document.and_then(|document| document[name].as_array()).cloned().unwrap_or_default()
    }

    /// Draws one more. Nodes that have begun are left alone, mostly. `id`: for a node that comes; `children`: workflows
    /// that it may run.
    pub(crate) fn draw(&mut self, chance: &mut Chance, begun: &BTreeSet<String>, id: &str, children: u64) {
        let nodes = self.list("nodes");
        let is_careful = !chance.one_in(5);
        let free: Vec<usize> = (0..nodes.len())
            .filter(|&at| !is_careful || nodes[at]["id"].as_str().is_none_or(|id| !begun.contains(id)))
            .collect();
        let at = chance.pick(&free).copied();
        match (chance.below(17), at) {
            (0..5, _) => self.adds_node(chance, &nodes, &free, id, children),
            (5 | 6, Some(at)) if nodes.len() > 1 => self.removes_node(&nodes, at),
            (7, _) => self.removes_edge(chance),
            (8, Some(at)) => {
                if let Some(from) = chance.pick(&nodes).and_then(|node| node["id"].as_str()) {
                    let edge = edge(chance, from, nodes[at]["id"].as_str().unwrap_or_default());
                    self.add("/edges/-".into(), edge);
                }
            }
            (9, _) => self.guards_edge(chance),
            (10..13, Some(at)) => self.sets_member(chance, &nodes[at], at),
            (13, Some(at)) => self.changes_body(chance, &nodes[at], at, id),
            (14, _) => self.sets_workflow(chance),
            (15, _) => self.moves(chance),
            // A policy may change of what has begun, too.
            _ => {
                let at = chance.below(nodes.len() as u64) as usize;
                let retry = json!({"max_attempts": 1 + chance.below(4), "initial_s": 1 + chance.below(5)});
                self.add(format!("/nodes/{at}/retry"), retry);
            }
        }
    }

    fn adds_node(&mut self, chance: &mut Chance, nodes: &[Value], free: &[usize], id: &str, children: u64) {
        let mut new = node(chance, id, Within { children, ..Within::default() }, &|_| false);
        new["id"] = json!(id);
        let mut edges = Vec::new();
        for _ in 0..chance.below(3) {
            if let Some(from) = chance.pick(nodes).and_then(|node| node["id"].as_str()) {
                edges.push(edge(chance, from, id));
            }
        }
        if edges.len() > 1 && chance.one_in(2) {
            new["join"] = json!("any");
            if chance.one_in(3) {
                new["cancel_rest"] = json!(true);
            }
        }
        if let (Some(&to), true) = (chance.pick(free), chance.one_in(2)) {
            edges.push(edge(chance, id, nodes[to]["id"].as_str().unwrap_or_default()));
        }
        self.add(if chance.one_in(4) { "/nodes/0".into() } else { "/nodes/-".into() }, new);
        edges.into_iter().for_each(|edge| self.add("/edges/-".into(), edge));
    }

    fn removes_node(&mut self, nodes: &[Value], at: usize) {
        let id = &nodes[at]["id"];
        for (at, edge) in self.list("edges").iter().enumerate().rev() {
            if edge["from"] == *id || edge["to"] == *id {
                self.remove(format!("/edges/{at}"));
            }
        }
        self.remove(format!("/nodes/{at}"));
    }

    fn removes_edge(&mut self, chance: &mut Chance) {
        let edges = self.list("edges").len() as u64;
        if edges > 0 {
            self.remove(format!("/edges/{}", chance.below(edges)));
        }
    }

    /// Something stands in another place of its list.
    fn moves(&mut self, chance: &mut Chance) {
        let name = chance.of_these(&["nodes", "edges"]);
        let list = self.list(name);
        let from = chance.below(list.len() as u64) as usize;
        let to = chance.below(list.len() as u64);
        if let Some(moved) = list.get(from) {
            self.remove(format!("/{name}/{from}"));
            self.add(format!("/{name}/{to}"), moved.clone());
        }
    }

    fn guards_edge(&mut self, chance: &mut Chance) {
        let edges = self.list("edges");
        if let Some(edge) = chance.pick(&edges) {
            let at = edges.iter().position(|other| other == edge).unwrap_or_default();
            if edge.get("when").is_some() && chance.one_in(2) {
                self.remove(format!("/edges/{at}/when"));
            } else {
                self.add(format!("/edges/{at}/when"), json!(format!("inputs.x > {}", chance.below(3))));
            }
        }
    }

    fn sets_member(&mut self, chance: &mut Chance, node: &Value, at: usize) {
        let at = format!("/nodes/{at}");
        match chance.below(8) {
            0 => self.add(format!("{at}/on_error"), json!("continue")),
            1 => self.add(format!("{at}/timeout_s"), json!(1 + chance.below(40))),
            2 => self.add(format!("{at}/join"), json!(chance.of_these(&["any", "all"]))),
            3 => self.add(format!("{at}/cancel_rest"), json!(true)),
            4 => self.add(format!("{at}/concurrency_key"), json!("a")),
            5 if node["type"] == "timer" => self.add(format!("{at}/config/duration_s"), json!(chance.below(50))),
            6 if node["type"] == "approval" => self.add(format!("{at}/config/prompt"), json!("And now?")),
            _ if node["type"] == "function" => {
                // What it reads of others: `v` of some node before it, or of one that may be anywhere.
                let nodes = self.list("nodes");
                let of = chance.pick(&nodes).and_then(|node| node["id"].as_str()).unwrap_or_default();
                self.add(format!("{at}/input/of"), json!(format!("${{nodes.{of}.output.v}}")));
            }
            _ => self.add(format!("{at}/priority"), json!(chance.of_these(&["high", "low"]))),
        }
    }

    fn changes_body(&mut self, chance: &mut Chance, holder: &Value, at: usize, id: &str) {
        let inner = holder["config"]["body"]["nodes"].as_array().map_or(0, Vec::len);
        if inner == 0 {
            return;
        }
        let body = format!("/nodes/{at}/config/body");
        match chance.below(3) {
            0 => self.add(format!("{body}/output"), json!("${inputs.x}")),
            1 => self.add(format!("{body}/nodes/{}/on_error", inner - 1), json!("continue")),
            _ => {
                let from = &holder["config"]["body"]["nodes"][0]["id"];
                let new = json!({"id": id, "type": "function", "config": {"name": "f"}, "effect": "read",
                    "input": {"x": "${inputs.x}"}});
                let edge = json!({"from": from, "to": id});
                self.add(format!("{body}/nodes/-"), new);
                let has_edges = holder["config"]["body"].get("edges").is_some();
                if has_edges {
                    self.add(format!("{body}/edges/-"), edge);
                }
            }
        }
    }

    fn sets_workflow(&mut self, chance: &mut Chance) {
        match chance.below(3) {
            0 => self.add("/timeout_s".into(), json!(40 + chance.below(200))),
            1 => self.add("/compensation_timeout_s".into(), json!(5 + chance.below(60))),
            _ => {
                let nodes = self.list("nodes");
                let of = chance.pick(&nodes).and_then(|node| node["id"].as_str()).unwrap_or_default();
                let output =
                    json!({"status": format!("${{nodes.{of}.status}}"), "v": format!("${{nodes.{of}.output.v}}")});
                self.add("/output".into(), output);
            }
        }
    }

    /// Adds a node that calls a function.
    pub(crate) fn calls(&mut self, function: &str, id: &str) {
        let new = json!({"id": id, "type": "function", "config": {"name": function}, "effect": "write",
            "input": {"x": "${inputs.x}"}});
        self.add("/nodes/-".into(), new);
    }

    /// Adds an agent that may patch, behind a node.
    pub(crate) fn asks(&mut self, id: &str, from: &str) {
        let config = json!({"model": "m", "prompt": "And then?", "may_patch": true});
        self.add("/nodes/-".into(), json!({"id": id, "type": "agent", "config": config}));
        self.add("/edges/-".into(), json!({"from": from, "to": id}));
    }

    /// Makes nonsense of it.
    pub(crate) fn spoil(&mut self, chance: &mut Chance) {
        match chance.below(4) {
            0 => self.remove("/nodes/77".into()),
            1 => self.put(json!({"op": "test", "path": "/name", "value": "another"})),
            2 => self.put(json!({"op": "put", "path": "/nodes/0", "value": 1})),
            _ => self.add("/name".into(), json!("another")),
        }
    }
}

/// Applies one operation; `None`: it does not fit.
fn apply(document: &mut Value, operation: &Value) -> Option<()> {
    let (path, value) = (operation["path"].as_str()?, operation.get("value"));
    if operation["op"] == "test" {
        return (document.pointer(path) == value).then_some(());
    }
    let (above, last) = path.rsplit_once('/')?;
    match (operation["op"].as_str()?, document.pointer_mut(above)?) {
        ("add", Value::Object(members)) => _ = members.insert(last.into(), value?.clone()),
        ("add", Value::Array(list)) => {
            let at = if last == "-" { list.len() } else { last.parse().ok()? };
            (at <= list.len()).then(|| value.map(|value| list.insert(at, value.clone())))??;
        }
        ("remove", Value::Object(members)) => _ = members.remove(last)?,
        ("remove", Value::Array(list)) => {
            let at = last.parse().ok().filter(|at| *at < list.len())?;
            list.remove(at);
        }
        _ => return None,
    }
    Some(())
}
