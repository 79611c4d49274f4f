//! Where two versions of a definition differ in what a run has done already. Compares what is written, not what it is
//! compiled to: where both say the same, they mean the same.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Members of a node that say how it is to be tried from now on, and nothing about what it did.
const POLICIES: [&str; 7] =
    ["retry", "timeout_s", "schedule_to_close_s", "heartbeat_timeout_s", "priority", "breaker", "correction"];

/// A place in the new definition (JSON Pointer; empty: the whole), and what is wrong there.
pub(crate) type Change = (String, String);

/// Two definitions, read.
#[derive(Debug)]
pub(crate) struct Versions {
    old: Value,
    new: Value,
}

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
            for (n, node) in list(graph, "nodes").iter().enumerate() {
                let pointer = format!("{at}/nodes/{n}");
                // The body of an HTTP request is data.
                if matches!(text(node, "type"), "map" | "loop") && node["config"]["body"].is_object() {
                    graphs.push((format!("{pointer}/config/body"), &node["config"]["body"]));
                }
                parts.nodes.insert(text(node, "id"), (pointer, node));
            }
            for edge in list(graph, "edges") {
                parts.edges.entry(text(edge, "to")).or_default().push(edge);
            }
        }
        parts
    }

    fn edges_into(&self, id: &str) -> Vec<String> {
        let mut edges: Vec<String> = self.edges.get(id).into_iter().flatten().map(|edge| edge.to_string()).collect();
        edges.sort_unstable();
        edges
    }
}

fn list<'d>(graph: &'d Value, name: &str) -> &'d [Value] {
    graph[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'d>(of: &'d Value, name: &str) -> &'d str {
    of[name].as_str().unwrap_or_default()
}

impl Versions {
    /// Reads two canonical definitions.
    pub(crate) fn read(old: &[u8], new: &[u8]) -> Versions {
        let read = |definition| serde_json::from_slice(definition).unwrap_or_default();
        Versions { old: read(old), new: read(new) }
    }

    /// Where these nodes, the edges into them and (of those that hold others) their bodies are not the same.
    pub(crate) fn changes(&self, ids: &BTreeSet<&str>) -> Vec<Change> {
        let (old, new) = (Parts::of(&self.old), Parts::of(&self.new));
        let mut found = Vec::new();
        for &id in ids {
            let Some((_, before)) = old.nodes.get(id) else { continue };
            let Some((pointer, after)) = new.nodes.get(id) else {
                found.push((String::new(), format!("{id} is not there any more")));
                continue;
            };
            let (before, after) = (said(before), said(after));
            let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
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

    /// Edges with a guard out of a node of the workflow's own graph that only one of the definitions has: a guard is
    /// evaluated when its node is decided, and not again. Looks at the edges that a node with this outcome takes.
    pub(crate) fn guards(&self, from: &str, failed: bool) -> Vec<Change> {
        let guarded = |of: &Value| -> Vec<(usize, String, String)> {
            let edges = list(of, "edges").iter().enumerate().filter(|(_, edge)| {
                let takes = (text(edge, "on") == "error") == failed;
                text(edge, "from") == from && takes && edge.get("when").is_some()
            });
            edges.map(|(place, edge)| (place, text(edge, "to").to_owned(), edge.to_string())).collect()
        };
        let (before, mut after) = (guarded(&self.old), guarded(&self.new));
        let mut found = Vec::new();
        for (_, to, edge) in before {
            match after.iter().position(|(.., other)| *other == edge) {
                Some(place) => _ = after.swap_remove(place),
                None => {
                    let detail = format!("{from} is decided, and with it the guarded edge to {to}, which is not there");
                    found.push((String::new(), detail));
                }
            }
        }
        after.sort_unstable();
        for (place, to, _) in after {
            let detail = format!("{from} is decided: the guard of an edge to {to} would not be evaluated any more");
            found.push((format!("/edges/{place}/when"), detail));
        }
        found
    }
}

/// What a node says but for how it is tried.
fn said(node: &Value) -> BTreeMap<&str, &Value> {
    let members = node.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value));
    members.filter(|(name, _)| !POLICIES.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn versions(old: &Value, new: &Value) -> Versions {
        Versions::read(old.to_string().as_bytes(), new.to_string().as_bytes())
    }

    #[test]
    fn a_policy_may_change_and_nothing_else() {
        let with = |member: &str, value: Value| {
            let mut node = json!({"id": "a", "type": "function", "config": {"name": "f"}});
            node[member] = value;
            json!({"nodes": [node], "edges": []})
        };
        let old = with("type", json!("function"));
        for policy in POLICIES {
            assert!(versions(&old, &with(policy, json!(1))).changes(&BTreeSet::from(["a"])).is_empty(), "{policy}");
        }
        for member in ["type", "config", "input", "effect", "join", "cancel_rest", "on_error", "compensation"] {
            let found = versions(&old, &with(member, json!("x"))).changes(&BTreeSet::from(["a"]));
            assert_eq!(found, [(format!("/nodes/0/{member}"), format!("{member} of a is another one"))]);
        }
        assert!(versions(&old, &with("type", json!("http"))).changes(&BTreeSet::from(["b"])).is_empty());
    }

    #[test]
    fn edges_are_counted_and_guards_only_where_the_outcome_takes_them() {
        let graph = |edges: Value| json!({"nodes": [{"id": "a"}, {"id": "b"}], "edges": edges});
        let plain = json!({"from": "a", "to": "b"});
        let (one, two) = (graph(json!([plain])), graph(json!([plain, plain])));
        assert_eq!(versions(&one, &two).changes(&BTreeSet::from(["b"])).len(), 1);
        let guarded = graph(json!([plain, {"from": "a", "to": "b", "when": "true"}]));
        assert_eq!(versions(&one, &guarded).guards("a", false)[0].0, "/edges/1/when");
        assert_eq!(versions(&guarded, &one).guards("a", false)[0].0, "");
        assert!(versions(&one, &guarded).guards("a", true).is_empty(), "a failure does not take it");
        assert!(versions(&guarded, &guarded).guards("a", false).is_empty());
    }

    #[test]
    fn the_body_of_a_request_is_data() {
        let with = |function: &str| {
            let node = |name: &str| json!({"id": "a", "type": "function", "config": {"name": name}});
            let body = json!({"nodes": [node("f")], "edges": [{"from": "x", "to": "a"}]});
            json!({"nodes": [node(function), {"id": "h", "type": "http", "config": {"body": body}}]})
        };
        let found = versions(&with("f"), &with("g")).changes(&BTreeSet::from(["a"]));
        assert_eq!(found, [("/nodes/0/config".to_owned(), "config of a is another one".to_owned())]);
    }
}
