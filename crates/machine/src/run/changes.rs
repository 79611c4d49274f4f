//! Where two versions of a workflow differ in what a run has done already.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Members of a node that say how it is to be tried from now on, and nothing about what it did.
const POLICIES: [&str; 7] =
    ["retry", "timeout_s", "schedule_to_close_s", "heartbeat_timeout_s", "priority", "breaker", "correction"];

#[derive(Default)]
struct Parts<'d> {
    /// By id: pointer and node.
    nodes: BTreeMap<&'d str, (String, &'d Value)>,
    /// By target.
    edges: BTreeMap<&'d str, Vec<&'d Value>>,
}

impl<'d> Parts<'d> {
    fn of(document: &'d Value) -> Parts<'d> {
        let mut parts = Parts::default();
        let mut graphs = vec![(String::new(), document)];
        while let Some((at, graph)) = graphs.pop() {
            let list = |name: &str| graph[name].as_array().map(Vec::as_slice).unwrap_or_default();
            for (n, node) in list("nodes").iter().enumerate() {
                let pointer = format!("{at}/nodes/{n}");
                if node["config"]["body"].is_object() {
                    graphs.push((format!("{pointer}/config/body"), &node["config"]["body"]));
                }
                parts.nodes.insert(node["id"].as_str().unwrap_or_default(), (pointer, node));
            }
            for edge in list("edges") {
                parts.edges.entry(edge["to"].as_str().unwrap_or_default()).or_default().push(edge);
            }
        }
        parts
    }

    fn edges_into(&self, id: &str) -> BTreeSet<String> {
        self.edges.get(id).into_iter().flatten().map(|edge| edge.to_string()).collect()
    }
}

/// For each of these nodes that is not the same in both (canonical) definitions: its place in the new one, and how.
pub(crate) fn changes(old: &[u8], new: &[u8], ids: &BTreeSet<&str>) -> Vec<(String, String)> {
    let (old, new): (Value, Value) =
        (serde_json::from_slice(old).unwrap_or_default(), serde_json::from_slice(new).unwrap_or_default());
    let (old, new) = (Parts::of(&old), Parts::of(&new));
    let mut found = Vec::new();
    for &id in ids {
        let Some((_, before)) = old.nodes.get(id) else { continue };
        let Some((pointer, after)) = new.nodes.get(id) else {
            found.push((String::new(), format!("{id} is not there any more")));
            continue;
        };
        let members = |node: &Value| -> BTreeMap<String, Value> {
            let all = node.as_object().cloned().unwrap_or_default();
            all.into_iter().filter(|(name, _)| !POLICIES.contains(&name.as_str())).collect()
        };
        let (before, after) = (members(before), members(after));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            if before.get(name) != after.get(name) {
                found.push((format!("{pointer}/{name}"), format!("{name} of {id} is another one")));
            }
        }
        if old.edges_into(id) != new.edges_into(id) {
            found.push((pointer.clone(), format!("the edges into {id} are others")));
        }
    }
    found
}
