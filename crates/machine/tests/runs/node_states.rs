//! Where the nodes of a run stand, told from its records.

use crate::world::World;
use crate::{edge, function, world, world_of};
use apex_machine::{RunId, history};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn states(world: &World, run: &RunId) -> BTreeMap<String, &'static str> {
    let found = history::node_states(&world.bodies(run)).unwrap();
    found.into_iter().map(|(id, state)| (id, state.as_str())).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &'static str); N]) -> BTreeMap<String, &'static str> {
    pairs.into_iter().map(|(id, state)| (id.to_owned(), state)).collect()
}

#[test]
fn each_node_stands_where_its_run_left_it() {
    let nodes = json!([function("a", json!({})), function("b", json!({})), function("c", json!({})),
        {"id": "ask", "type": "approval", "config": {"prompt": "?"}}]);
    let guarded = json!({"from": "a", "to": "c", "when": "nodes.a.output > 1"});
    let mut world = world(&nodes, &json!([edge("a", "b"), guarded, edge("a", "ask")]));
    let run = world.start("w", 1, "{}");
    assert_eq!(states(&world, &run), pairs([("a", "running")]));
    world.ok("a", "1");
    assert_eq!(states(&world, &run), pairs([("a", "done"), ("ask", "waiting"), ("b", "running"), ("c", "skipped")]));
    world.fail("b", "Broken");
    let ended = pairs([("a", "done"), ("ask", "waiting"), ("b", "failed"), ("c", "skipped")]);
    assert_eq!(states(&world, &run)["b"], ended["b"], "also of a run that has ended");
    assert_eq!(states(&world, &run)["a"], "done");
}

#[test]
fn of_a_body_the_instance_that_says_most_is_told() {
    let body =
        json!({"nodes": [function("look", json!({})), function("keep", json!({}))], "edges": [edge("look", "keep")]});
    let map: Value = json!({"id": "m", "type": "map", "config": {"over": "${inputs}", "body": body}});
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": [map]}));
    let run = world.start("w", 1, "[1, 2]");
    world.ok("m[0].look", "1");
    assert_eq!(states(&world, &run), pairs([("keep", "running"), ("look", "running"), ("m", "running")]));
    world.ok("m[1].look", "1");
    assert_eq!(states(&world, &run)["look"], "done");
}

#[test]
fn records_that_are_no_history_are_refused() {
    assert!(history::node_states(&[b"nothing".as_slice()]).is_err());
    assert_eq!(history::node_states(&[]), Ok(BTreeMap::new()));
}
