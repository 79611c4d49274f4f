use crate::world::{SECOND, World};
use crate::{edge, function, last, world_of};
use apex_machine::command::Command;
use apex_machine::{Config, RunId, RunState};
use serde_json::{Value, json};

fn composite(id: &str, workflow: &str, more: Value) -> Value {
    let mut node = json!({"id": id, "type": "composite", "config": {"workflow": workflow, "tag": "main",
                          "inputs": {"x": "${inputs.x}"}}});
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

fn workflow(name: &str, nodes: Value, edges: Value) -> Value {
    json!({"name": name, "version": "1", "nodes": nodes, "edges": edges,
           "inputs": {"type": "object", "properties": {"x": {"type": "integer"}}}})
}

fn undoable(id: &str) -> Value {
    let input = json!({"id": format!("${{nodes.{id}.output}}"), "x": "${inputs.x}"});
    function(id, json!({"effect": "write", "compensation": {"name": "undo", "input": input}}))
}

/// `w` runs `c`, a composite of `inner`, then `z`.
fn world(inner: Value, more: Value) -> World {
    let nodes = json!([composite("c", "inner", more), function("z", json!({"input": {"c": "${nodes.c.output}"}}))]);
    let mut world = world_of(workflow("w", nodes, json!([edge("c", "z")])));
    world.register(&inner.to_string());
    world
}

fn child_of(world: &World, run: &RunId) -> RunId {
    RunId::parse(last(world, run, "ChildStarted")["child"].as_str().unwrap()).unwrap()
}

#[test]
fn a_child_runs_in_its_own_right_and_its_output_is_that_of_the_node() {
    let mut world =
        world(workflow("inner", json!([function("f", json!({"input": {"x": "${inputs.x}"}}))]), json!([])), json!({}));
    let run = world.start("w", 1, "{\"x\":7}");
    let child = child_of(&world, &run);
    let view = world.view(&child);
    assert_eq!((view.parent_run, view.parent_node.as_deref()), (Some(run), Some("c")));
    assert_eq!((&*view.workflow, &*view.version, view.run_id.partition()), ("inner", "1", run.partition()));
    let started = last(&world, &child, "RunStarted");
    assert_eq!((&started["parent_run"], &started["depth"]), (&json!(run.to_string()), &json!(1)));
    assert_eq!(&*world.job("f").input, b"{\"x\":7}");
    assert_eq!(world.state(&run), RunState::Running);
    assert_eq!(world.machine.counts().starts, 2, "a child is a run that was started");
    world.ok("f", "{\"n\":1}");
    assert_eq!(world.state(&child), RunState::Completed);
    assert_eq!(&*world.job("z").input, b"{\"c\":{\"f\":{\"n\":1}}}");
    let ended = world.seen.iter().position(|event| event.name == "ChildEnded").unwrap();
    assert_eq!((world.seen[ended + 1].name, world.seen[ended + 1].run_id), ("WorkflowCompleted", child));
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_failure_comes_up_and_another_child_is_tried() {
    let retry = json!({"retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}});
    let mut world =
        world(workflow("inner", json!([undoable("a"), function("b", json!({}))]), json!([edge("a", "b")])), retry);
    let run = world.start("w", 1, "{\"x\":7}");
    let first = child_of(&world, &run);
    world.ok("a", "5");
    world.fail("b", "Odd");
    assert_eq!(&*world.job("a").input, b"{\"id\":5,\"x\":7}");
    world.ok("a", "null");
    assert_eq!(world.state(&first), RunState::Failed);
    world.tick_next();
    let second = child_of(&world, &run);
    assert_ne!(first, second);
    world.ok("a", "6");
    world.fail("b", "Odd");
    world.ok("a", "null");
    let error = last(&world, &run, "WorkflowFailed");
    assert_eq!((&error["error"]["type"], &error["error"]["node"]), (&json!("Odd"), &json!("c")));
    assert_eq!(error["compensation_executed"], false, "each child undid its own");
}

#[test]
fn what_completed_children_did_is_undone_by_the_parent_in_its_order() {
    let nodes = json!([undoable("a"), composite("c", "inner", json!({})), undoable("b"), function("z", json!({})),]);
    let edges = json!([edge("a", "c"), edge("c", "b"), edge("b", "z")]);
    let mut world = world_of(workflow("w", nodes, edges));
    let nested = json!([
        undoable("i"),
        composite("d", "deep", json!({"config": {"workflow": "deep", "version": "1", "inputs": {"x": 8}}})),
        undoable("j")
    ]);
    world.register(&workflow("inner", nested, json!([edge("i", "d"), edge("d", "j")])).to_string());
    let over = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "max_concurrency": 1,
                      "body": {"nodes": [undoable("x")], "edges": []}}});
    world.register(&workflow("deep", json!([over]), json!([])).to_string());
    let run = world.start("w", 1, "{\"x\":7}");
    for (n, node) in ["a", "i", "m[0].x", "m[1].x", "j", "b"].iter().enumerate() {
        world.ok(node, &n.to_string());
    }
    world.fail("z", "Odd");
    let steps = json!(["b", "c/j", "c/d/m[1].x", "c/d/m[0].x", "c/i", "a"]);
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], steps);
    world.ok("b", "null");
    world.ok("c/j", "null");
    // A new process reads the rest from a snapshot, or from the log.
    world.crash(&mut crate::world::Chance(2));
    world.crash(&mut crate::world::Chance(3));
    let job = world.job("c/d/m[1].x");
    assert_eq!((&*job.input, &*job.name), (&b"{\"id\":3,\"x\":8}"[..], "undo"));
    assert_eq!(job.idempotency_key, format!("{run}/c/d/m[1].x/undo"));
    for node in ["c/d/m[1].x", "c/d/m[0].x", "c/i", "a"] {
        world.ok(node, "null");
    }
    let results = last(&world, &run, "WorkflowFailed")["compensation_results"].clone();
    let ids: Vec<Value> = results.as_array().unwrap().iter().map(|step| step["step_id"].clone()).collect();
    assert_eq!(json!(ids), steps);
}

#[test]
fn a_composite_with_a_compensation_of_its_own_is_undone_by_that() {
    let more = json!({"compensation": {"name": "undo_c", "input": {"was": "${nodes.c.output.a}"}}});
    let mut world = world(workflow("inner", json!([undoable("a")]), json!([])), more);
    let run = world.start("w", 1, "{\"x\":7}");
    world.ok("a", "5");
    world.fail("z", "Odd");
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["c"]));
    assert_eq!((&*world.job("c").name, &*world.job("c").input), ("undo_c", &b"{\"was\":5}"[..]));
}

#[test]
fn a_cancel_goes_down_and_waits_for_what_the_child_undoes() {
    let mut world =
        world(workflow("inner", json!([undoable("a"), function("b", json!({}))]), json!([edge("a", "b")])), json!({}));
    let run = world.start("w", 1, "{\"x\":7}");
    let child = child_of(&world, &run);
    world.ok("a", "5");
    let held = world.job("b");
    world.cancel(run).outcome.unwrap();
    assert!(world.asked_to_end.contains(&held.id));
    assert_eq!((world.state(&run), world.state(&child)), (RunState::Compensating, RunState::Compensating));
    world.ok("b", "1");
    world.ok("a", "null");
    assert_eq!((world.state(&run), world.state(&child)), (RunState::Cancelled, RunState::Cancelled));
    assert_eq!(last(&world, &run, "ChildEnded")["status"], "cancelled");
}

#[test]
fn a_child_that_is_cancelled_by_itself_fails_the_node() {
    let mut world =
        world(workflow("inner", json!([function("f", json!({}))]), json!([])), json!({"retry": {"max_attempts": 3}}));
    let run = world.start("w", 1, "{\"x\":7}");
    let child = child_of(&world, &run);
    world.cancel(child).outcome.unwrap();
    world.ok("f", "1");
    assert_eq!((world.state(&run), world.state(&child)), (RunState::Failed, RunState::Cancelled));
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "Cancelled");
}

#[test]
fn why_a_child_failed_is_there_for_the_nodes_that_follow() {
    let nodes = json!([
        composite("c", "inner", json!({"on_error": "continue"})),
        function("z", json!({"input": {"why": "${nodes.c.error.type}", "what": "${nodes.c.error.message}"}})),
    ]);
    let mut world = world_of(workflow("w", nodes, json!([{"from": "c", "to": "z", "on": "error"}])));
    world.register(&workflow("inner", json!([function("f", json!({}))]), json!([])).to_string());
    let run = world.start("w", 1, "{\"x\":7}");
    world.fail("f", "Odd");
    assert_eq!(&*world.job("z").input, b"{\"what\":\"it broke\",\"why\":\"Odd\"}");
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    let again = world.replay_command(&run, 1, "z", false);
    let again = world.ask(Command::ReplayRun(Box::new(again))).outcome.unwrap().run_id.unwrap();
    assert_eq!(&*world.job("z").input, b"{\"what\":\"it broke\",\"why\":\"Odd\"}", "a replay keeps how it failed");
    assert!(!world.names(&again).contains(&"ChildStarted"));
}

#[test]
fn what_cannot_start_fails_the_node_with_a_type_that_says_why() {
    let cases = [
        (json!({"workflow": "nowhere", "tag": "main"}), "WorkflowNotFound"),
        (json!({"workflow": "inner", "tag": "canary"}), "WorkflowNotFound"),
        (json!({"workflow": "inner", "version": "2"}), "WorkflowNotFound"),
        (json!({"workflow": "inner", "version": "1", "inputs": {"x": "text"}}), "InputsInvalid"),
        (json!({"workflow": "inner", "version": "1", "inputs": "${inputs.x}"}), "InputsInvalid"),
    ];
    for (config, wanted) in cases {
        let inner = workflow("inner", json!([function("f", json!({}))]), json!([]));
        let mut world = world(inner, json!({"config": config, "retry": {"max_attempts": 3}}));
        let run = world.start("w", 1, "{\"x\":7}");
        let error = last(&world, &run, "WorkflowFailed")["error"].clone();
        assert_eq!((&error["type"], &error["node"]), (&json!(wanted), &json!("c")), "{config}");
        assert_eq!(last(&world, &run, "ToolResultReceived")["attempt"], 0, "no attempt was made");
    }
}

#[test]
fn a_workflow_that_holds_itself_ends_at_the_depth_limit() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.depth_max = 3;
    let mut world = World::new(config);
    world.register(
        &workflow("w", json!([composite("c", "w", json!({"retry": {"max_attempts": 5}}))]), json!([])).to_string(),
    );
    let run = world.start("w", 1, "{\"x\":7}");
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "LimitExceeded");
    assert_eq!(world.seen.iter().filter(|event| event.name == "RunStarted").count(), 3);
}

#[test]
fn a_time_limit_of_the_node_takes_the_child_back() {
    let retry = json!({"timeout_s": 5, "retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}});
    let mut world =
        world(workflow("inner", json!([undoable("a"), function("b", json!({}))]), json!([edge("a", "b")])), retry);
    let run = world.start("w", 1, "{\"x\":7}");
    let first = child_of(&world, &run);
    world.ok("a", "5");
    world.tick_at(world.now + 5 * SECOND);
    let ended = last(&world, &run, "ChildEnded");
    assert_eq!(
        (&ended["status"], &ended["retry"], &ended["taken_back"]),
        (&json!("timeout"), &json!(true), &json!(true))
    );
    assert_eq!(world.state(&first), RunState::Compensating);
    world.tick_next();
    let second = child_of(&world, &run);
    world.fail("b", "Late");
    let undo = world.jobs.values().find(|job| job.compensation).unwrap().clone();
    assert_eq!(undo.run_id, first);
    let a = world.jobs.values().find(|job| job.run_id == second).unwrap().clone();
    world.answer(&a, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    world.ok("b", "2");
    world.ok("z", "3");
    assert_eq!(world.state(&run), RunState::Running, "the run does not end before the child that it took back");
    world.answer(&undo, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    assert_eq!((world.state(&first), world.state(&run)), (RunState::Cancelled, RunState::Completed));
}

#[test]
fn a_child_out_of_time_fails_the_node_where_no_other_one_is_tried() {
    let mut world = world(workflow("inner", json!([function("f", json!({}))]), json!([])), json!({"timeout_s": 5}));
    let run = world.start("w", 1, "{\"x\":7}");
    let child = child_of(&world, &run);
    world.tick_at(world.now + 5 * SECOND);
    world.ok("f", "1");
    assert_eq!((world.state(&run), world.state(&child)), (RunState::Failed, RunState::Cancelled));
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "Timeout");
}

#[test]
fn a_composite_of_an_item_that_closed_is_still_undone() {
    let undo = json!({"compensation": {"name": "undo_c", "input": {"was": "${nodes.c.output.f}"}}});
    let body = json!({"nodes": [composite("c", "inner", undo)], "edges": []});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}});
    let mut world = world_of(workflow("w", json!([map, function("z", json!({}))]), json!([edge("m", "z")])));
    world.register(&workflow("inner", json!([function("f", json!({}))]), json!([])).to_string());
    let run = world.start("w", 1, "{\"x\":7}");
    world.ok("f", "5");
    world.ok("f", "5");
    world.fail("z", "Odd");
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["m[1].c", "m[0].c"]));
    assert_eq!(&*world.job("m[1].c").input, b"{\"was\":5}");
}

#[test]
fn losers_of_a_join_are_taken_back_with_what_they_did() {
    let nodes = json!([
        composite("c", "inner", json!({})),
        function("b", json!({})),
        {"id": "j", "type": "join", "join": "any", "cancel_rest": true},
    ]);
    let mut world = world_of(workflow("w", nodes, json!([edge("c", "j"), edge("b", "j")])));
    let inner = workflow("inner", json!([undoable("x"), function("y", json!({}))]), json!([edge("x", "y")]));
    world.register(&inner.to_string());
    let run = world.start("w", 1, "{\"x\":7}");
    let child = child_of(&world, &run);
    world.ok("x", "5");
    world.ok("b", "1");
    assert_eq!(world.state(&child), RunState::Compensating);
    world.ok("y", "1");
    world.ok("x", "null");
    assert_eq!((world.state(&child), world.state(&run)), (RunState::Cancelled, RunState::Completed));
}

#[test]
fn a_map_of_composites_stays_within_its_turns_and_keeps_nothing_of_those_that_completed() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.events_per_turn_max = 50;
    let mut world = World::new(config);
    world.compares = false;
    world.follows = false;
    let body = json!({"nodes": [composite("c", "inner", json!({"config":
        {"workflow": "inner", "version": "1", "inputs": {"x": "${item}"}}}))], "edges": [], "output": "${nodes.c.output}"});
    let over: Vec<u32> = (0..2_000).collect();
    let nodes = json!([{"id": "m", "type": "map", "config": {"over": over, "max_concurrency": 2_000, "body": body}}]);
    world.register(&workflow("w", nodes, json!([])).to_string());
    let timer = json!({"id": "t", "type": "timer", "config": {"duration_s": 1}});
    let mut inner = workflow("inner", json!([timer]), json!([]));
    inner["output"] = json!("${inputs.x}");
    world.register(&inner.to_string());
    let command = world.start_command("w", 1, "", "{}");
    let run = command.run_id;
    let mut commands = vec![(1, Command::StartRun(Box::new(command)))];
    loop {
        let (count, more) = world.turn(std::mem::take(&mut commands));
        assert!(count <= 54, "{count}");
        if !more {
            break;
        }
    }
    world.sync(u64::MAX);
    assert_eq!(world.machine.counts().runs_open, 2_001);
    let view =
        world.machine.runs("t", &apex_machine::view::RunFilter { parent: Some(run), ..Default::default() }, 5_000, "");
    assert_eq!(view.items.len(), 2_000);
    world.tick_at(world.now + 2 * SECOND);
    assert_eq!(world.state(&run), RunState::Completed);
    let output = last(&world, &run, "WorkflowCompleted")["output"]["m"].clone();
    assert_eq!((output[0].clone(), output[1_999].clone()), (json!(0), json!(1_999)));
}

#[test]
fn many_children_are_cancelled_a_few_at_a_time() {
    let body = json!({"nodes": [composite("c", "inner", json!({}))], "edges": []});
    let over: Vec<u32> = (0..300).collect();
    let nodes = json!([{"id": "m", "type": "map", "config": {"over": over, "max_concurrency": 300, "body": body}}]);
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.events_per_turn_max = 20;
    let mut world = World::new(config);
    world.compares = false;
    world.register(&workflow("w", nodes, json!([])).to_string());
    let gate = json!({"id": "g", "type": "approval", "config": {"prompt": "?"}});
    world.register(&workflow("inner", json!([gate]), json!([])).to_string());
    let run = world.start("w", 1, "{\"x\":1}");
    assert_eq!(world.machine.counts().runs_open, 301);
    world.cancel(run).outcome.unwrap();
    assert_eq!(world.state(&run), RunState::Cancelled);
    assert_eq!((world.machine.counts().runs_open, world.machine.counts().approvals), (0, 0));
}

#[test]
fn as_much_to_undo_of_a_child_as_the_parent_can_name_is_let_through() {
    // `a` takes 41 bytes of its records, `b/x` 43.
    for (bytes, state) in [(41 + 43, RunState::Completed), (41 + 42, RunState::Compensating)] {
        let mut config = Config { partitions: 4, ..Config::default() };
        config.limits.record_bytes_max = 2 * bytes;
        let mut world = World::new(config);
        let nodes = json!([undoable("a"), composite("b", "inner", json!({}))]);
        world.register(&workflow("w", nodes, json!([edge("a", "b")])).to_string());
        world.register(&workflow("inner", json!([undoable("x")]), json!([])).to_string());
        let run = world.start("w", 1, "{\"x\":1}");
        world.ok("a", "1");
        world.ok("x", "2");
        while let Some(job) = world.jobs.values().find(|job| &*job.node == "x").cloned() {
            world.ok(&job.node, "null");
        }
        assert_eq!(world.state(&run), state, "{bytes}");
    }
}

#[test]
fn more_to_undo_than_the_parent_can_name_fails_the_child_which_undoes_it_itself() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.record_bytes_max = 160;
    let mut world = World::new(config);
    let nodes = json!([composite("a", "inner", json!({})), composite("b", "inner", json!({}))]);
    world.register(&workflow("w", nodes, json!([edge("a", "b")])).to_string());
    world.register(&workflow("inner", json!([undoable("x")]), json!([])).to_string());
    let run = world.start("w", 1, "{\"x\":1}");
    world.ok("x", "1");
    world.ok("x", "2");
    world.ok("x", "null");
    let error = last(&world, &run, "ChildEnded")["error"].clone();
    assert_eq!(error["type"], "LimitExceeded");
    world.ok("a/x", "null");
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn the_end_of_a_child_that_was_taken_back_is_not_that_of_the_next_one() {
    let retry = json!({"timeout_s": 5, "retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}});
    let mut world = world(workflow("inner", json!([function("f", json!({}))]), json!([])), retry);
    let run = world.start("w", 1, "{\"x\":7}");
    let first = world.job("f");
    world.tick_at(world.now + 5 * SECOND);
    world.tick_next();
    let second = world.jobs.values().find(|job| job.run_id != first.run_id).unwrap().clone();
    world.answer(&first, crate::world::failed("Cancelled"));
    assert_eq!((world.state(&first.run_id), world.state(&second.run_id)), (RunState::Cancelled, RunState::Running));
    world.answer(&second, apex_machine::command::Outcome::Ok(b"8".to_vec()));
    assert_eq!(&*world.job("z").input, b"{\"c\":{\"f\":8}}");
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}
