//! Where two versions of a definition differ in what a run has done already. Compares what is written, not what it is
//! compiled to: where both say the same, they mean the same. What is the same costs a comparison of its bytes.

use apex_ir::Ir;
use apex_ir::ir::{Edge, NodeIx};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Members of a node that say how it is to be tried from now on, and nothing about what it did.
const POLICIES: [&str; 7] =
    ["retry", "timeout_s", "schedule_to_close_s", "heartbeat_timeout_s", "priority", "breaker", "correction"];

/// A place in the new definition (JSON Pointer; empty: the whole), and what is wrong there.
pub(crate) type Change = (String, String);

/// Two definitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions<'v> {
    pub(crate) old: &'v Ir,
    pub(crate) new: &'v Ir,
}

impl Versions<'_> {
    /// Where a node, the edges into it and (of one that holds others) its body are not the same. Nothing of a node that
    /// the old one does not have.
    pub(crate) fn changes(&self, id: &str) -> Vec<Change> {
        let Some(before) = self.old.node(id) else { return Vec::new() };
        let Some(after) = self.new.node(id) else {
            return vec![(String::new(), format!("{id} is not there any more"))];
        };
        let mut found = Vec::new();
        let (old, new) = (&self.old.nodes[before as usize], &self.new.nodes[after as usize]);
        let (before_text, after_text) = (self.old.text_of(&old.written), self.new.text_of(&new.written));
        if before_text != after_text {
            let (before, after) = (said(before_text), said(after_text));
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                if before.get(name) != after.get(name) {
                    found.push((
                        format!("{}/{name}", self.new.pointer_of(new)),
                        format!("{name} of {id} is another one"),
                    ));
                }
            }
        }
        if edges_into(self.old, before) != edges_into(self.new, after) {
            found.push((self.new.pointer_of(new), format!("the edges into {id} are others")));
        }
        found
    }

    /// Edges with a guard out of a node that only one of the definitions has: a guard is evaluated when its node is
    /// decided, and not again. Looks at the edges that a node with this outcome takes.
    pub(crate) fn guards(&self, before: NodeIx, after: NodeIx, failed: bool) -> Vec<Change> {
        let (old, new) = (guarded(self.old, before, failed), guarded(self.new, after, failed));
        let from = &self.new.nodes[after as usize].id;
        let gone = beyond(&old, &new).into_iter().map(|edge| {
            let to = &self.old.nodes[edge.to as usize].id;
            (String::new(), format!("{from} is decided, and with it the guarded edge to {to}, which is not there"))
        });
        let come = beyond(&new, &old).into_iter().map(|edge| {
            let to = &self.new.nodes[edge.to as usize].id;
            let detail = format!("{from} is decided: the guard of an edge to {to} would not be evaluated any more");
            (format!("{}/when", self.new.pointer_of_edge(edge)), detail)
        });
        gone.chain(come).collect()
    }
}

/// What a node says but for how it is tried.
fn said(node: &[u8]) -> BTreeMap<String, Value> {
    let mut members: BTreeMap<String, Value> = serde_json::from_slice(node).unwrap_or_default();
    members.retain(|name, _| !POLICIES.contains(&name.as_str()));
    members
}

/// What the edges into a node say, in no order.
fn edges_into(ir: &Ir, node: NodeIx) -> Vec<&[u8]> {
    let mut edges: Vec<&[u8]> = ir.incoming(node).map(|(_, edge)| ir.text_of(&edge.written)).collect();
    edges.sort_unstable();
    edges
}

/// Edges by what they say.
type Edges<'v> = BTreeMap<&'v [u8], Vec<&'v Edge>>;

/// The edges with a guard that a node with this outcome takes.
fn guarded(ir: &Ir, from: NodeIx, failed: bool) -> Edges<'_> {
    let mut edges = Edges::new();
    for edge in ir.outgoing(from).iter().filter(|edge| edge.on_error == failed && edge.when.is_some()) {
        edges.entry(ir.text_of(&edge.written)).or_default().push(edge);
    }
    edges
}

/// Those that others have not, or not so often, as they stand in the definition.
fn beyond<'v>(these: &Edges<'v>, others: &Edges<'_>) -> Vec<&'v Edge> {
    let of = |(text, edges): (&&[u8], &Vec<&'v Edge>)| {
        edges[others.get(*text).map_or(0, Vec::len).min(edges.len())..].to_vec()
    };
    let mut found: Vec<&Edge> = these.iter().flat_map(of).collect();
    found.sort_unstable_by_key(|edge| edge.written.start);
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(definition: &Value) -> Ir {
        apex_ir::compile(definition.to_string().as_bytes(), None, &apex_ir::Limits::default()).unwrap()
    }

    fn graph(nodes: Value, edges: Value) -> Ir {
        compiled(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}))
    }

    fn function(id: &str) -> Value {
        json!({"id": id, "type": "function", "config": {"name": "f"}})
    }

    fn changes(old: &Ir, new: &Ir, id: &str) -> Vec<Change> {
        Versions { old, new }.changes(id)
    }

    #[test]
    fn a_policy_may_change_and_nothing_else() {
        let with = |member: &str, value: Value| {
            let mut node = function("a");
            node[member] = value;
            graph(json!([node]), json!([]))
        };
        let old = graph(json!([function("a")]), json!([]));
        let policies = json!({"retry": {"max_attempts": 2}, "timeout_s": 1, "schedule_to_close_s": 9,
            "heartbeat_timeout_s": 1, "priority": "high", "breaker": {"failure_threshold": 2}, "correction": {}});
        for policy in POLICIES {
            assert!(changes(&old, &with(policy, policies[policy].clone()), "a").is_empty(), "{policy}");
        }
        let others = json!({"config": {"name": "g"}, "input": {"x": 1}, "effect": "pure", "join": "any",
            "cancel_rest": true, "on_error": "continue", "compensation": {"name": "undo"}});
        for (member, value) in others.as_object().unwrap() {
            let found = changes(&old, &with(member, value.clone()), "a");
            assert_eq!(found, [(format!("/nodes/0/{member}"), format!("{member} of a is another one"))]);
        }
        let timer = graph(json!([{"id": "a", "type": "timer", "config": {"duration_s": 1}}]), json!([]));
        let places: Vec<String> = changes(&old, &timer, "a").into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, ["/nodes/0/config", "/nodes/0/type"]);
        let gone = graph(json!([function("b")]), json!([]));
        assert_eq!(changes(&old, &gone, "a"), [(String::new(), "a is not there any more".to_owned())]);
        assert!(changes(&old, &timer, "b").is_empty(), "it was not there before");
    }

    #[test]
    fn edges_are_compared_as_they_are_written_and_guards_only_where_the_outcome_takes_them() {
        let nodes = json!([function("a"), function("c"), function("b")]);
        let plain = json!({"from": "a", "to": "b"});
        let guarded = json!({"from": "a", "to": "b", "when": "true"});
        let one = graph(nodes.clone(), json!([plain]));
        let two = graph(nodes.clone(), json!([{"from": "c", "to": "b"}, plain]));
        assert_eq!(changes(&one, &two, "b"), [("/nodes/2".to_owned(), "the edges into b are others".to_owned())]);
        assert!(changes(&one, &two, "a").is_empty());
        let with = graph(nodes, json!([guarded]));
        assert_eq!(changes(&one, &with, "b").len(), 1);
        let guards = |old: &Ir, new: &Ir, failed| {
            Versions { old, new }.guards(old.node("a").unwrap(), new.node("a").unwrap(), failed)
        };
        assert_eq!(guards(&one, &with, false)[0].0, "/edges/0/when");
        assert_eq!(guards(&with, &one, false)[0].0, "");
        assert!(guards(&one, &with, true).is_empty(), "a failure does not take it");
        assert!(guards(&with, &with, false).is_empty());
    }

    #[test]
    fn the_body_of_a_request_is_data_and_that_of_a_map_is_part_of_it() {
        let with = |function: &str| {
            let node = |name: &str| json!({"id": "a", "type": "function", "config": {"name": name}});
            let body = json!({"nodes": [node("f")], "edges": [{"from": "x", "to": "a"}]});
            let request = json!({"id": "h", "type": "http", "config": {"method": "POST", "url": "https://a.example", "body": body}});
            let map =
                json!({"id": "m", "type": "map", "config": {"over": "${inputs}", "body": {"nodes": [node(function)]}}});
            graph(json!([map, request]), json!([]))
        };
        let (old, new) = (with("f"), with("g"));
        assert_eq!(
            changes(&old, &new, "a"),
            [("/nodes/0/config/body/nodes/0/config".to_owned(), "config of a is another one".to_owned())]
        );
        assert_eq!(changes(&old, &new, "m"), [("/nodes/0/config".to_owned(), "config of m is another one".to_owned())]);
        assert!(changes(&old, &new, "h").is_empty());
    }
}
