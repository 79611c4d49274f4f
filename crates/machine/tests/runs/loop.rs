use crate::{edge, function, last, world};
use apex_machine::RunState;
use serde_json::{Value, json};

fn looping(more: Value, body: Value) -> Value {
    let mut config = json!({"while": "iteration < 3", "max_iterations": 100, "body": body});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({"id": "l", "type": "loop", "config": config})
}

fn body() -> Value {
    json!({"nodes": [function("f", json!({"input": {"iteration": "${iteration}", "last": "${last}"}}))], "edges": [],
           "output": "${nodes.f.output}"})
}

#[test]
fn iterations_come_one_after_the_other_and_see_what_the_one_before_gave() {
    let nodes = json!([looping(json!({}), body()), function("z", json!({"input": {"all": "${nodes.l.output}"}}))]);
    let mut world = world(&nodes, &json!([edge("l", "z")]));
    world.start("w", 1, "{}");
    assert_eq!(&*world.job("l[0].f").input, b"{\"iteration\":0,\"last\":null}");
    world.ok("l[0].f", "{\"n\":1}");
    assert_eq!(world.jobs.len(), 1);
    assert_eq!(&*world.job("l[1].f").input, b"{\"iteration\":1,\"last\":{\"n\":1}}");
    world.ok("l[1].f", "2");
    world.ok("l[2].f", "3");
    assert_eq!(&*world.job("z").input, b"{\"all\":3}");
}

#[test]
fn a_loop_ends_when_its_condition_is_false_or_after_max_iterations() {
    let nodes = json!([looping(json!({"while": "last == null || last < 2"}), body())]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("l[0].f", "1");
    world.ok("l[1].f", "2");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"l": 2}));
    let nodes = json!([looping(json!({"while": "true", "max_iterations": 2}), body())]);
    let mut world = crate::world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("l[0].f", "1");
    world.ok("l[1].f", "7");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"l": 7}));
    let nodes = json!([looping(json!({"while": "false"}), body())]);
    let mut world = crate::world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"l": null}));
}

#[test]
fn a_failed_iteration_fails_the_loop_and_what_the_others_did_is_undone_newest_first() {
    let f = function(
        "f",
        json!({"effect": "write", "compensation": {"name": "undo", "input": {"at": "${iteration}", "last": "${last}"}}}),
    );
    let nodes = json!([looping(json!({}), json!({"nodes": [f], "edges": [], "output": "${nodes.f.output}"}))]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("l[0].f", "5");
    world.ok("l[1].f", "6");
    world.fail("l[2].f", "Odd");
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["l[1].f", "l[0].f"]));
    assert_eq!(&*world.job("l[1].f").input, b"{\"at\":1,\"last\":5}");
    world.ok("l[1].f", "null");
    assert_eq!(&*world.job("l[0].f").input, b"{\"at\":0,\"last\":null}");
    world.ok("l[0].f", "null");
    assert_eq!(world.state(&run), RunState::Failed);
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!((&error["node"], &error["type"]), (&json!("l"), &json!("Odd")));
}

#[test]
fn a_condition_that_fails_fails_the_run() {
    let nodes = json!([looping(json!({"while": "iteration == 0 || last.n > 0"}), body())]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("l[0].f", "1");
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!((&error["code"], &error["node"]), (&json!("EXPRESSION_FAILED"), &json!("l")));
}

#[test]
fn loops_stand_in_maps_and_maps_in_loops() {
    let f =
        function("f", json!({"input": {"item": "${item}", "at": "${iteration}", "last": "${last}", "n": "${index}"}}));
    let inner = json!({"id": "m", "type": "map", "config": {"over": ["x"],
        "body": {"nodes": [f], "edges": [], "output": "${nodes.f.output}"}}});
    let body = json!({"nodes": [inner], "edges": [], "output": "${nodes.m.output}"});
    let nodes = json!([{"id": "o", "type": "map", "config": {"over": ["a", "b"], "body": {"nodes":
        [looping(json!({"while": "iteration < 2 && item != 'b'"}), body)], "edges": []}}}]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{}");
    assert_eq!(&*world.job("o[0].l[0].m[0].f").input, b"{\"at\":0,\"item\":\"x\",\"last\":null,\"n\":0}");
    world.ok("o[0].l[0].m[0].f", "1");
    assert_eq!(&*world.job("o[0].l[1].m[0].f").input, b"{\"at\":1,\"item\":\"x\",\"last\":[1],\"n\":0}");
    world.ok("o[0].l[1].m[0].f", "2");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"o": [{"l": [2]}, {"l": null}]}));
}

#[test]
fn a_join_that_cancels_the_rest_ends_a_loop_within_its_iteration() {
    let nodes = json!([
        looping(json!({}), body()),
        function("b", json!({})),
        {"id": "j", "type": "join", "join": "any", "cancel_rest": true},
    ]);
    let mut world = world(&nodes, &json!([edge("l", "j"), edge("b", "j")]));
    let run = world.start("w", 1, "{}");
    let held = world.job("l[0].f");
    world.ok("b", "1");
    assert!(world.asked_to_end.contains(&held.id));
    assert_eq!(world.state(&run), RunState::Completed);
    let names = world.names(&run);
    assert_eq!(names.iter().filter(|name| **name == "ScopeClosed").count(), 1);
}

#[test]
fn a_long_loop_keeps_nothing_of_the_iterations_that_closed() {
    let nodes = json!([looping(json!({"while": "true", "max_iterations": 10_000}), body())]);
    let mut world = world(&nodes, &json!([]));
    world.compares = false;
    world.follows = false;
    let run = world.start("w", 1, "{}");
    let mut sizes = Vec::new();
    for n in 0..10_000 {
        if n % 5_000 == 100 {
            sizes.push(world.machine.snapshot().len());
        }
        world.ok(&format!("l[{n}].f"), "1");
    }
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(sizes[1] - sizes[0] <= 5_000 + 64, "a byte for each hole, {sizes:?}");
}

#[test]
fn more_scopes_than_a_run_may_open_fail_the_loop() {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.scopes_per_run_max = 3;
    let mut world = crate::world::World::new(config);
    let nodes = json!([looping(json!({"while": "true"}), body())]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": []}).to_string());
    let run = world.start("w", 1, "{}");
    world.ok("l[0].f", "1");
    world.ok("l[1].f", "1");
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!((&error["type"], &error["node"]), (&json!("LimitExceeded"), &json!("l")));
}
