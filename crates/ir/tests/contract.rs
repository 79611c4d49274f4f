//! The definition of contracts.md, end to end.
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::ir::{Effect, Keeps, Kind, OnTimeout};
use support::ok;

const EXAMPLE: &str = r#"
{"name": "enrich-order", "version": "1.2.0",
 "inputs": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
 "nodes": [
   {"id": "fetch", "type": "http", "config": {"method": "GET", "url": "https://api.example.com/orders/${inputs.order_id}"},
    "retry": {"max_attempts": 5, "initial_s": 0.2, "factor": 2.0, "max_s": 30, "jitter": 0.2, "non_retryable": ["NotFound"]},
    "timeout_s": 10},
   {"id": "score", "type": "function", "config": {"name": "score_order"}, "input": {"order": "${nodes.fetch.output.body}"}, "effect": "pure"},
   {"id": "gate", "type": "approval", "config": {"prompt": "Ship?", "timeout_s": 86400, "on_timeout": "reject", "escalate_to": ["ops"], "escalate_after_s": 3600}},
   {"id": "ship", "type": "function", "config": {"name": "ship"}, "effect": "write",
    "compensation": {"name": "recall_shipment", "input": {"id": "${nodes.ship.output.id}"}}}],
 "edges": [{"from": "fetch", "to": "score"},
           {"from": "score", "to": "gate", "when": "nodes.score.output.risk > 0.8"},
           {"from": "score", "to": "ship", "when": "nodes.score.output.risk <= 0.8"},
           {"from": "gate", "to": "ship", "when": "nodes.gate.output.approved"}],
 "output": {"shipment": "${nodes.ship.output.id}"}}"#;

fn paths(keeps: &Keeps) -> Vec<String> {
    match keeps {
        Keeps::Paths(paths) => paths.iter().map(|path| path.names.join(".")).collect(),
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn the_example_compiles_to_what_it_says() {
    let ir = ok(EXAMPLE);
    assert_eq!((&*ir.name, &*ir.version), ("enrich-order", "1.2.0"));
    assert_eq!(ir.nodes.iter().map(|node| &*node.id).collect::<Vec<_>>(), ["fetch", "score", "gate", "ship"]);
    let node = |id: &str| &ir.nodes[ir.node(id).unwrap() as usize];
    assert_eq!(paths(&node("fetch").keeps), ["body"]);
    assert_eq!(paths(&node("score").keeps), ["risk"]);
    assert_eq!(paths(&node("gate").keeps), ["approved"]);
    assert_eq!(paths(&node("ship").keeps), ["id"]);
    assert_eq!(node("fetch").retry.max_attempts, 5);
    assert_eq!(node("fetch").retry.initial_ns, 200_000_000);
    assert_eq!(node("fetch").timeout_ns, Some(10_000_000_000));
    assert_eq!(node("fetch").effect, Effect::Read);
    assert_eq!(node("score").effect, Effect::Pure);
    let Kind::Approval(gate) = &node("gate").kind else { panic!("no approval") };
    assert_eq!(gate.on_timeout, OnTimeout::Reject);
    assert_eq!(gate.escalate_after_ns, Some(3_600_000_000_000));
    assert_eq!(ir.outgoing(ir.node("score").unwrap()).len(), 2);
    assert_eq!(ir.incoming(ir.node("ship").unwrap()).len(), 2);
    assert_eq!(ir.functions.iter().map(|name| &**name).collect::<Vec<_>>(), ["recall_shipment", "score_order", "ship"]);
    assert_eq!(ir.pointer_of_edge(&ir.edges[1]), "/edges/1");
}

#[test]
fn inputs_are_checked_against_the_schema() {
    let ir = ok(EXAMPLE);
    assert_eq!(ir.check_inputs(br#"{"order_id": "7"}"#), Ok(()));
    let faults = ir.check_inputs(br#"{"order_id": 7}"#).unwrap_err();
    assert_eq!((faults[0].code, &*faults[0].pointer), ("WRONG_TYPE", "/order_id"));
    let faults = ir.check_inputs(b"{}").unwrap_err();
    assert_eq!((faults[0].code, &*faults[0].pointer), ("MISSING_FIELD", ""));
    assert_eq!(ir.check_inputs(b"{").unwrap_err()[0].code, "BAD_JSON");
}

#[test]
fn the_canonical_bytes_compile_to_the_same_hash() {
    let ir = ok(EXAMPLE);
    let again = ok(std::str::from_utf8(&ir.canonical).unwrap());
    assert_eq!(ir.canonical, again.canonical);
    assert_eq!(ir.hash, again.hash);
    // Fixed for this compiler version: a change of these bytes is a change of every cache key.
    assert_eq!(apex_ir::digest::address(&ir.hash), HASH);
}

const HASH: &str = "sha256:9ea46a228f20dc20be3f3c9c3a0803069fa7bf1c54d55adaae4af7c2f568e4f6";
