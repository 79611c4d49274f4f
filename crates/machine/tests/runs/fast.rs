//! A run in fast fidelity: its records leave out what follows from the state at any later time.

use crate::world::{Chance, World};
use crate::{edge, function, last};
use apex_machine::Config;
use apex_machine::command::{Command, Fidelity, JobResult, Outcome};
use serde_json::json;

#[test]
fn an_input_is_left_out_where_it_is_the_same_at_any_later_time() {
    let mut world = World::new(Config { partitions: 4, fidelity: Fidelity::Fast, ..Config::default() });
    let nodes = json!([
        function("a", json!({})),
        function("b", json!({})),
        function("first", json!({"join": "any", "input": {"b": "${has(nodes.b.output)}"}})),
        function("then", json!({"input": {"a": "${nodes.a.output}"}}))
    ]);
    let edges = json!([edge("a", "first"), edge("b", "first"), edge("a", "then")]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}).to_string());
    let run = world.start("w", 1, "{}");
    world.ok("a", "7");
    let requested = |world: &World, node: &str| {
        let events = world.events(&run);
        let event = events.iter().find(|event| event.name == "ToolCallRequested" && event.node() == node).unwrap();
        event.payload.clone()
    };
    assert_eq!(requested(&world, "first")["input"], json!({"b": false}), "b may still give something");
    assert_eq!(requested(&world, "then")["omitted"], true);
    world.ok("b", "1");
    world.crash(&mut Chance(1));
    world.settle(Vec::new());
    assert_eq!((&*world.job("first").input, &*world.job("then").input), (&b"{\"b\":false}"[..], &b"{\"a\":7}"[..]));
}

#[test]
fn two_results_in_one_turn_are_undone_newest_first() {
    let undo = json!({"effect": "write", "compensation": {"name": "undo", "input": {}}});
    let mut world = World::new(Config { partitions: 4, fidelity: Fidelity::Fast, ..Config::default() });
    let nodes = json!([function("a", undo.clone()), function("b", undo), function("c", json!({}))]);
    let edges = json!([edge("a", "c"), edge("b", "c")]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}).to_string());
    let run = world.start("w", 1, "{}");
    let results = ["a", "b"].map(|node| {
        let (job, attempt, outcome) = (world.job(node).id, 1, Outcome::Ok(b"1".to_vec()));
        (0, Command::JobResult(JobResult { job, attempt, outcome }))
    });
    world.jobs.clear();
    world.settle(results.into());
    world.fail("c", "Odd");
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["b", "a"]));
}
