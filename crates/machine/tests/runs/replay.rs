//! A run again from a node on: what is kept is never executed, what follows is.

use super::world::{Chance, World};
use apex_machine::command::{Command, SupplyHistory};
use apex_machine::{Config, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn call(id: &str, more: &Value) -> Value {
    let mut node = json!({"id": id, "type": "function", "config": {"name": "f"}, "effect": "pure"});
    for (name, value) in more.as_object().unwrap() {
        node[name] = value.clone();
    }
    node
}

fn chain(nodes: &[Value]) -> Value {
    let ids: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let edges: Vec<Value> = ids.windows(2).map(|pair| json!({"from": pair[0], "to": pair[1]})).collect();
    json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges})
}

fn world(definition: &Value) -> World {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    world.register(&definition.to_string());
    world
}

fn replay(world: &mut World, origin: &RunId, from: &str, live: bool) -> RunId {
    let command = world.replay_command(origin, 1, from, live);
    let reply = world.ask(Command::ReplayRun(Box::new(command)));
    reply.outcome.unwrap().run_id.unwrap()
}

/// Decisions of a run: instance and whether it was taken over.
fn decided(world: &World, run: &RunId) -> Vec<(String, bool)> {
    let events = world.events(run);
    let results =
        events.iter().filter(|event| matches!(event.name, "ToolResultReceived" | "ApprovalResolved" | "TimerFired"));
    results.map(|event| (event.node().to_owned(), event.payload.get("copied").is_some())).collect()
}

#[test]
fn what_comes_before_keeps_its_result() {
    let b = call("b", &json!({"input": {"v": "${nodes.a.output.v}"}}));
    let mut world = world(&chain(&[call("a", &json!({})), b, call("c", &json!({}))]));
    let origin = world.start("w", 1, "{\"x\":1}");
    world.ok("a", "{\"v\":7}");
    world.ok("b", "1");
    world.ok("c", "2");
    let run = replay(&mut world, &origin, "b", false);
    assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["b"]);
    let job = world.job("b");
    assert_eq!(&*job.input, b"{\"v\":7}");
    assert_eq!(job.idempotency_key, format!("{run}/b"), "its own keys");
    world.ok("b", "3");
    world.ok("c", "4");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(decided(&world, &run), [("a".into(), true), ("b".into(), false), ("c".into(), false)]);
    let started = &world.events(&run)[0].payload;
    assert_eq!(started["origin_run"], origin.to_string());
    assert_eq!((&started["origin_from"], &started["mode"]), (&json!("b"), &json!("freeze")));
    assert_eq!(started["inputs"], json!({"x": 1}));
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn live_takes_only_the_inputs() {
    let mut world = world(&chain(&[call("a", &json!({})), call("b", &json!({}))]));
    let origin = world.start("w", 1, "{\"x\":1}");
    world.ok("a", "1");
    world.ok("b", "2");
    let run = replay(&mut world, &origin, "", true);
    world.ok("a", "3");
    world.ok("b", "4");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(decided(&world, &run), [("a".into(), false), ("b".into(), false)]);
}

#[test]
fn approvals_and_timers_keep_what_they_gave() {
    let ask = json!({"id": "ask", "type": "approval", "config": {"prompt": "?"}});
    let wait = json!({"id": "wait", "type": "timer", "config": {"duration_s": 50}});
    let mut world = world(&chain(&[ask, wait, call("end", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    world.resolve(&format!("{origin}~ask"), true);
    world.tick_next();
    world.ok("end", "1");
    let run = replay(&mut world, &origin, "end", false);
    world.ok("end", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(decided(&world, &run), [("ask".into(), true), ("wait".into(), true), ("end".into(), false)]);
    let events = world.events(&run);
    let approved = events.iter().find(|event| event.name == "ApprovalResolved").unwrap();
    assert_eq!(approved.payload["ticket"], format!("{run}~ask"));
}

#[test]
fn a_signal_that_did_not_come_is_not_waited_for_again() {
    let wait = json!({"id": "s", "type": "signal", "config": {"name": "go", "timeout_s": 9, "on_timeout": "continue"}});
    let mut world = world(&chain(&[wait, call("end", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    world.tick_next();
    world.ok("end", "1");
    let run = replay(&mut world, &origin, "end", false);
    let kept = world.events(&run).into_iter().find(|event| event.node() == "s").unwrap();
    assert_eq!(kept.name, "ToolResultReceived", "it stands as a result: there was nothing that a timer could end");
    assert_eq!(kept.payload["output"], json!({"payload": null, "timed_out": true}));
    world.ok("end", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn a_map_that_wrote_and_ended_does_not_write_again() {
    let body = json!({"nodes": [call("x", &json!({"effect": "write"}))], "edges": []});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}});
    let mut world = world(&chain(&[map, call("end", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    for node in ["m[0].x", "m[1].x", "end"] {
        world.ok(node, "1");
    }
    let mut command = world.replay_command(&origin, 1, "end", false);
    command.allow_writes = false;
    let run = world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap().run_id.unwrap();
    assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["end"]);
    world.ok("end", "2");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn other_items_of_a_map_keep_theirs() {
    let body = json!({"nodes": [call("x", &json!({})), call("y", &json!({}))], "edges": [{"from": "x", "to": "y"}]});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}});
    let mut world = world(&chain(&[map, call("end", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    for node in ["m[0].x", "m[1].x", "m[0].y", "m[1].y", "end"] {
        world.ok(node, "1");
    }
    let run = replay(&mut world, &origin, "m[1].y", false);
    assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["m[1].y"]);
    world.ok("m[1].y", "2");
    world.ok("end", "3");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn later_iterations_of_a_loop_run_again() {
    let body = json!({"nodes": [call("x", &json!({}))], "edges": []});
    let looped =
        json!({"id": "l", "type": "loop", "config": {"body": body, "while": "iteration < 3", "max_iterations": 5}});
    let mut world = world(&chain(&[looped]));
    let origin = world.start("w", 1, "{}");
    for node in ["l[0].x", "l[1].x", "l[2].x"] {
        world.ok(node, "1");
    }
    assert_eq!(world.state(&origin), RunState::Completed);
    let run = replay(&mut world, &origin, "l[1].x", false);
    world.ok("l[1].x", "2");
    world.ok("l[2].x", "2");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn writes_are_refused_unless_they_are_allowed() {
    let ship = call("ship", &json!({"effect": "write"}));
    let mut world = world(&chain(&[call("a", &json!({"effect": "write"})), call("b", &json!({})), ship]));
    let origin = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.ok("b", "2");
    world.ok("ship", "3");
    let mut command = world.replay_command(&origin, 1, "b", false);
    command.allow_writes = false;
    let before = world.machine.snapshot();
    let refusal = world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap_err();
    assert_eq!(refusal.code, "WRITES_NOT_ALLOWED");
    let details: Value = serde_json::from_slice(&refusal.details).unwrap();
    assert_eq!(details["errors"], json!([{"pointer": "/nodes/2", "detail": "ship writes, and would run"}]));
    assert_eq!(world.machine.snapshot(), before, "a refusal changes nothing");
}

#[test]
fn only_what_the_new_run_did_is_undone() {
    let undo = json!({"effect": "write", "compensation": {"name": "undo", "input": {}}});
    let mut world = world(&chain(&[call("a", &undo), call("b", &undo), call("c", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    for node in ["a", "b", "c"] {
        world.ok(node, "1");
    }
    let run = replay(&mut world, &origin, "b", false);
    world.ok("b", "2");
    world.fail("c", "Broken");
    let plan = world.events(&run).into_iter().find(|event| event.name == "CompensationPlanned").unwrap();
    assert_eq!(plan.payload["steps"], json!(["b"]), "a was executed by the origin");
}

#[test]
fn a_crash_at_any_record_executes_nothing_that_is_kept() {
    let nodes: Vec<Value> = (0..6).map(|n| call(&format!("n{n}"), &json!({}))).collect();
    for seed in 0..40 {
        let mut config = Config { partitions: 4, ..Config::default() };
        config.limits.events_per_turn_max = 2;
        let mut world = World::new(config);
        world.register(&chain(&nodes).to_string());
        let origin = world.start("w", 1, "{}");
        for n in 0..6 {
            world.ok(&format!("n{n}"), "1");
        }
        let mut command = world.replay_command(&origin, 1, "n4", false);
        command.idempotency_key = "again".into();
        world.turn(vec![(1, Command::ReplayRun(Box::new(command.clone())))]);
        let mut chance = Chance(seed);
        for _ in 0..chance.below(4) {
            world.turn(Vec::new());
        }
        world.crash(&mut chance);
        // The client asks again; with the key it is the same run.
        world.settle(vec![(2, Command::ReplayRun(Box::new(command.clone())))]);
        world.supply();
        assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["n4"], "seed {seed}");
        world.ok("n4", "2");
        world.ok("n5", "2");
        assert_eq!(world.state(&command.run_id), RunState::Completed);
        history::check(&world.history(&command.run_id)).unwrap();
    }
}

#[test]
fn another_version_must_be_the_same_where_results_are_kept() {
    let mut world = world(&chain(&[call("a", &json!({})), call("b", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.fail("b", "Broken");
    let mut fixed =
        chain(&[call("a", &json!({})), call("b", &json!({"config": {"name": "g"}})), call("c", &json!({}))]);
    fixed["version"] = json!("2");
    world.register(&fixed.to_string());
    let mut other = chain(&[call("a", &json!({"config": {"name": "g"}})), call("b", &json!({}))]);
    other["version"] = json!("3");
    world.register(&other.to_string());
    let mut command = world.replay_command(&origin, 1, "b", false);
    command.version = Some("3".into());
    let refusal = world.ask(Command::ReplayRun(Box::new(command.clone()))).outcome.unwrap_err();
    assert_eq!(refusal.code, "VERSION_INCOMPATIBLE");
    assert!(String::from_utf8(refusal.details).unwrap().contains("/nodes/0/config"));
    command.version = Some("2".into());
    let run = world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap().run_id.unwrap();
    assert_eq!(&*world.job("b").name, "g");
    world.ok("b", "2");
    world.ok("c", "3");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(&*world.view(&run).version, "2");
}

#[test]
fn what_is_not_there_is_said() {
    let mut world = world(&chain(&[call("a", &json!({}))]));
    let origin = world.start("w", 1, "{}");
    world.ok("a", "1");
    for (from, code) in [("b", "NODE_NOT_FOUND"), ("a[0].x", "NODE_NOT_FOUND")] {
        let command = world.replay_command(&origin, 1, from, false);
        assert_eq!(world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap_err().code, code);
    }
    let mut command = world.replay_command(&origin, 1, "a", false);
    command.history.pop();
    assert_eq!(world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap_err().code, "HISTORY_INVALID");
    let mut command = world.replay_command(&origin, 1, "a", false);
    command.tenant = "other".into();
    assert_eq!(world.ask(Command::ReplayRun(Box::new(command))).outcome.unwrap_err().code, "RUN_NOT_FOUND");
}

#[test]
fn a_signal_that_was_sent_is_not_sent_again() {
    let waits = json!({"id": "s", "type": "signal", "config": {"name": "go"}});
    let sends = json!({"id": "s", "type": "signal", "config": {"name": "go",
        "send": {"run_id": "${inputs.to}", "payload": 1}}});
    let mut world =
        world(&json!({"name": "other", "version": "1", "nodes": [call("a", &json!({})), waits], "edges": []}));
    let other = world.start("other", 9, "{}");
    world.register(&chain(&[sends, call("b", &json!({}))]).to_string());
    let origin = world.start("w", 1, &json!({"to": other.to_string()}).to_string());
    world.ok("b", "1");
    let again = replay(&mut world, &origin, "b", false);
    assert_eq!(decided(&world, &again), [("s".to_owned(), true)]);
    assert_eq!(world.names(&other).iter().filter(|name| **name == "SignalReceived").count(), 1);
}

#[test]
fn a_map_whose_item_heard_no_signal_fails_by_its_items_again() {
    let body = json!({"nodes": [{"id": "s", "type": "signal", "config": {"name": "go", "timeout_s": 5}}], "edges": []});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1], "body": body}, "on_error": "continue"});
    let mut world = world(&chain(&[map, call("b", &json!({"join": "any"}))]));
    let origin = world.start("w", 1, "{}");
    world.tick_next();
    let again = replay(&mut world, &origin, "b", false);
    assert_eq!(decided(&world, &again), [("m[0].s".to_owned(), true), ("m".to_owned(), false)]);
}

fn replay_without_writes(world: &mut World, origin: &RunId, from: &str) -> Result<RunId, &'static str> {
    let mut command = world.replay_command(origin, 1, from, false);
    command.allow_writes = false;
    let outcome = world.ask(Command::ReplayRun(Box::new(command))).outcome;
    outcome.map(|answer| answer.run_id.unwrap()).map_err(|refusal| refusal.code)
}

#[test]
fn a_write_that_was_skipped_does_not_have_to_be_allowed() {
    let mut definition = chain(&[call("a", &json!({})), call("ship", &json!({"effect": "write"}))]);
    definition["nodes"].as_array_mut().unwrap().push(call("end", &json!({})));
    definition["edges"] = json!([{"from": "a", "to": "ship", "when": "inputs.ships"}, {"from": "a", "to": "end"}]);
    let mut world = world(&definition);
    let origin = world.start("w", 1, "{\"ships\":false}");
    world.ok("a", "1");
    world.ok("end", "2");
    let code = replay_without_writes(&mut world, &origin, "a").unwrap_err();
    assert_eq!(code, "WRITES_NOT_ALLOWED", "what comes after a may be another way this time");
    let run = replay_without_writes(&mut world, &origin, "end").unwrap();
    world.ok("end", "3");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_write_that_never_began_has_to_be_allowed_wherever_it_stands() {
    let mut definition = chain(&[call("a", &json!({})), call("ship", &json!({"effect": "write"}))]);
    definition["nodes"].as_array_mut().unwrap().push(call("beside", &json!({})));
    let mut world = world(&definition);
    let origin = world.start("w", 1, "{}");
    world.fail("beside", "Odd");
    world.fail("a", "Cancelled");
    assert_eq!(world.state(&origin), RunState::Failed);
    assert_eq!(replay_without_writes(&mut world, &origin, "beside"), Err("WRITES_NOT_ALLOWED"));
}

#[test]
fn what_a_timer_leads_to_is_judged_by_the_new_run() {
    let wait = json!({"id": "wait", "type": "timer", "config": {"duration_s": 50}});
    let mut definition = chain(&[wait, call("first", &json!({}))]);
    definition["nodes"].as_array_mut().unwrap().push(call("again", &json!({})));
    definition["edges"] = json!([{"from": "wait", "to": "first", "when": "run.id == inputs.first"},
        {"from": "wait", "to": "again", "when": "run.id != inputs.first"}]);
    let mut world = world(&definition);
    let id = world.start_command("w", 1, "", "").run_id;
    let origin = world.start("w", 1, &json!({"first": id.to_string()}).to_string());
    world.tick_next();
    world.ok("first", "1");
    let run = replay(&mut world, &origin, "first", false);
    assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["again"]);
    world.ok("again", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

/// `c`, a composite of `inner`, which calls `f`; `more` beside it or after it.
fn with_child(more: &[Value], edges: &Value) -> World {
    let config = json!({"workflow": "inner", "version": "1", "inputs": {}});
    let child = json!({"id": "c", "type": "composite", "config": config});
    let nodes: Vec<&Value> = more.iter().chain([&child]).collect();
    let mut world = world(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}));
    world
        .register(&json!({"name": "inner", "version": "1", "nodes": [call("f", &json!({}))], "edges": []}).to_string());
    world
}

/// The nodes with a job in flight.
fn called(world: &World) -> BTreeSet<String> {
    world.jobs.values().map(|job| job.node.to_string()).collect()
}

#[test]
fn what_broke_off_because_a_child_failed_is_not_kept() {
    let mut world = with_child(&[call("b", &json!({}))], &json!([]));
    let origin = world.start("w", 1, "{}");
    world.fail("f", "Odd");
    world.fail("b", "Cancelled");
    assert_eq!(world.state(&origin), RunState::Failed);
    replay(&mut world, &origin, "c", false);
    assert_eq!(called(&world), BTreeSet::from(["b".to_owned(), "f".to_owned()]), "b had no failure of its own");
}

#[test]
fn a_replay_whose_records_are_gone_takes_its_child_along() {
    let mut world = with_child(&[call("a", &json!({}))], &json!([{"from": "a", "to": "c"}]));
    let origin = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.ok("f", "2");
    let run = replay(&mut world, &origin, "c", false);
    let child = world.job("f").run_id;
    world.crash(&mut Chance(1));
    world.settle(Vec::new());
    assert_eq!((world.state(&run), world.state(&child)), (RunState::Running, RunState::Running));
    world.settle(vec![(0, Command::SupplyHistory(SupplyHistory { run_id: run, history: Vec::new() }))]);
    assert_eq!(world.state(&run), RunState::Failed);
    assert!(world.asked_to_end.contains(&world.job("f").id), "nobody waits for it any more");
    world.ok("f", "3");
    assert_eq!(world.state(&child), RunState::Cancelled);
}

#[test]
fn a_child_that_was_cancelled_because_the_run_failed_runs_again() {
    let mut world = with_child(&[call("b", &json!({}))], &json!([]));
    let origin = world.start("w", 1, "{}");
    world.fail("b", "Odd");
    world.ok("f", "1");
    assert_eq!(world.state(&origin), RunState::Failed);
    replay(&mut world, &origin, "b", false);
    assert_eq!(called(&world), BTreeSet::from(["b".to_owned(), "f".to_owned()]));
}

#[test]
fn a_child_that_could_not_start_once_more_keeps_its_failure() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.runs_open_max = 2;
    let mut world = World::new(config);
    let child = json!({"id": "c", "type": "composite", "config": {"workflow": "inner", "version": "1", "inputs": {}},
        "retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}, "on_error": "continue"});
    let edge = json!({"from": "c", "to": "end", "on": "error"});
    world.register(
        &json!({"name": "w", "version": "1", "nodes": [child, call("end", &json!({}))], "edges": [edge]}).to_string(),
    );
    world
        .register(&json!({"name": "inner", "version": "1", "nodes": [call("f", &json!({}))], "edges": []}).to_string());
    let origin = world.start("w", 1, "{}");
    world.fail("f", "Odd");
    world.start("inner", 2, "{}");
    world.tick_next();
    world.ok("f", "1");
    world.ok("end", "1");
    assert_eq!(
        world.names(&origin).iter().filter(|name| **name == "ChildStarted").count(),
        1,
        "then too many were open"
    );
    let run = replay(&mut world, &origin, "end", false);
    assert_eq!(world.jobs.values().map(|job| &*job.node).collect::<Vec<_>>(), ["end"]);
    assert!(!world.names(&run).contains(&"ChildStarted"));
}
