use crate::world::failed;
use crate::{edge, function, last, world};
use apex_machine::command::{Command, JobResult, Outcome};
use apex_machine::{Job, RunState};
use serde_json::{Value, json};

fn map(more: Value, body: Value) -> Value {
    let mut config = json!({"over": "${inputs.list}", "body": body});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({"id": "m", "type": "map", "config": config})
}

fn body() -> Value {
    json!({"nodes": [function("f", json!({"input": {"item": "${item}", "index": "${index}"}}))], "edges": [],
           "output": "${nodes.f.output}"})
}

#[test]
fn outputs_stand_in_input_order_and_at_most_n_items_are_open() {
    let nodes = json!([
        map(json!({"max_concurrency": 2}), body()),
        function("z", json!({"input": {"all": "${nodes.m.output}"}}))
    ]);
    let mut world = world(&nodes, &json!([edge("m", "z")]));
    world.start("w", 1, "{\"list\":[\"a\",\"b\",\"c\"]}");
    assert_eq!(world.jobs.len(), 2);
    let second = world.job("m[1].f");
    assert_eq!(&*second.input, b"{\"index\":1,\"item\":\"b\"}");
    assert!(second.idempotency_key.ends_with("/m[1].f"));
    world.ok("m[1].f", "1");
    world.ok("m[2].f", "2");
    world.ok("m[0].f", "0");
    assert_eq!(&*world.job("z").input, b"{\"all\":[0,1,2]}");
}

#[test]
fn a_failed_item_fails_the_map_and_open_items_are_cancelled_or_it_is_null() {
    let nodes = json!([map(json!({"max_concurrency": 5}), body())]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{\"list\":[1,2,3]}");
    let other = world.job("m[2].f");
    world.ok("m[0].f", "1");
    world.fail("m[1].f", "Odd");
    assert_eq!(world.state(&run), RunState::Failed);
    assert!(world.asked_to_end.contains(&other.id));
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!((&error["node"], &error["type"]), (&json!("m"), &json!("Odd")));
    let nodes = json!([map(json!({"max_concurrency": 5, "on_item_error": "skip"}), body())]);
    let mut world = crate::world(&nodes, &json!([]));
    let run = world.start("w", 1, "{\"list\":[1,2]}");
    world.fail("m[0].f", "Odd");
    world.ok("m[1].f", "7");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"m": [null, 7]}));
}

#[test]
fn null_is_an_empty_list_and_anything_else_fails() {
    let mut world = world(&json!([map(json!({}), body())]), &json!([]));
    let run = world.start("w", 1, "{\"list\":null}");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"m": []}));
    let run = world.start("w", 2, "{\"list\":{\"a\":1}}");
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "EXPRESSION_FAILED");
}

#[test]
fn maps_nest_and_sum_up() {
    let inner = json!({"id": "i", "type": "map", "config": {"over": "${item}",
        "body": {"nodes": [function("g", json!({"input": {"x": "${item}"}}))], "edges": []}}});
    let nodes = json!([map(json!({}), json!({"nodes": [inner], "edges": [], "output": "${nodes.i.output}"}))]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{\"list\":[[1,2],[3]]}");
    for (node, value) in [("m[0].i[1].g", "2"), ("m[1].i[0].g", "3"), ("m[0].i[0].g", "1")] {
        world.ok(node, value);
    }
    let output = json!({"m": [[{"g": 1}, {"g": 2}], [{"g": 3}]]});
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], output);
}

#[test]
fn what_items_did_is_undone_after_they_closed() {
    let body = json!({"nodes": [function("f", json!({"effect": "write",
        "compensation": {"name": "undo", "input": {"item": "${item}", "id": "${nodes.f.output}"}}}))], "edges": []});
    let mut world = world(&json!([map(json!({}), body), function("z", json!({}))]), &json!([edge("m", "z")]));
    let run = world.start("w", 1, "{\"list\":[\"a\",\"b\"]}");
    world.ok("m[0].f", "1");
    world.ok("m[1].f", "2");
    world.crash(&mut crate::world::Chance(1));
    world.fail("z", "Odd");
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["m[1].f", "m[0].f"]));
    assert_eq!(&*world.job("m[1].f").input, b"{\"id\":2,\"item\":\"b\"}");
    world.ok("m[1].f", "1");
    world.ok("m[0].f", "1");
    assert_eq!(world.state(&run), RunState::Failed);
}

/// Two items with two steps each, one piece of work per visit, so that commands come between any two decisions.
fn two_items(retry: Value) -> (crate::world::World, apex_machine::RunId) {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.events_per_visit_max = 1;
    let mut world = crate::world::World::new(config);
    let body = json!({"nodes": [function("f", retry), function("g", json!({}))], "edges": [edge("f", "g")]});
    let nodes = json!([map(json!({}), body), function("z", json!({}))]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": [edge("m", "z")]}).to_string());
    let run = world.start("w", 1, "{\"list\":[1,2]}");
    (world, run)
}

#[test]
fn items_of_a_failed_map_do_not_go_on_after_a_crash() {
    let (mut world, _) = two_items(json!({}));
    let outcomes = [("m[0].f", failed("Odd")), ("m[1].f", Outcome::Ok(b"1".to_vec()))];
    let results = outcomes.map(|(node, outcome)| {
        let Job { id: job, attempt, .. } = world.job(node);
        (0, Command::JobResult(JobResult { job, attempt, outcome }))
    });
    let before = world.log.len();
    world.settle(results.into());
    let log = world.log.clone();
    for kept in before..=log.len() {
        let mut machine = apex_machine::Machine::new(world.config.clone());
        for (position, body) in log[..kept].iter().enumerate() {
            machine.apply(position as u64, body).unwrap();
        }
        machine.recovered();
        let mut events: Vec<_> = log[..kept].iter().flat_map(|body| crate::world::read(0, body)).collect();
        while let turn = machine.step(world.now, vec![])
            && turn.count > 0
        {
            let bodies = apex_machine::record::split_records(&turn.records).unwrap();
            events.extend(bodies.iter().flat_map(|body| crate::world::read(0, body)));
        }
        let failed = events.iter().position(|event| event.payload["fails"] == true);
        let Some(failed) = failed else { continue };
        let begun = events[failed..].iter().find(|event| event.name == "ToolCallRequested");
        assert!(begun.is_none(), "cut at {kept}: {begun:?}");
    }
}

#[test]
fn what_ends_in_an_item_of_a_failed_map_is_not_tried_again() {
    let (mut world, run) = two_items(json!({"retry": {"max_attempts": 3}}));
    let results = [("m[0].f", Some(false)), ("m[1].f", None)].map(|(node, retryable)| {
        let Job { id: job, attempt, .. } = world.job(node);
        let outcome = Outcome::Failed { kind: "Odd".into(), message: String::new(), retryable };
        (0, Command::JobResult(JobResult { job, attempt, outcome }))
    });
    world.settle(results.into());
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["node"], "m");
    let names = world.names(&run);
    assert!(!names.contains(&"NodeRetryScheduled"), "{names:?}");
    assert!(world.events(&run).iter().all(|event| event.payload["retry"] != true));
}

#[test]
fn a_retry_that_falls_due_in_an_item_of_a_failed_map_asks_for_nothing() {
    let retry = json!({"retry": {"max_attempts": 3, "initial_s": 1, "jitter": 0, "non_retryable": ["Fatal"]}});
    let (mut world, run) = two_items(retry);
    world.fail("m[1].f", "Odd");
    let Job { id: job, attempt, .. } = world.job("m[0].f");
    world.now += 1_000_000_000;
    let result = Command::JobResult(JobResult { job, attempt, outcome: failed("Fatal") });
    world.settle(vec![(0, result), (0, Command::Tick)]);
    let requests = world.events(&run).iter().filter(|event| event.name == "ToolCallRequested").count();
    assert_eq!((requests, world.state(&run)), (2, RunState::Failed), "{:?}", world.names(&run));
}

#[test]
fn what_a_join_takes_back_fails_nothing_any_more() {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.events_per_visit_max = 1;
    let mut world = crate::world::World::new(config);
    let join = json!({"join": "any", "cancel_rest": true});
    let retrying = json!({"retry": {"max_attempts": 3}});
    let nodes =
        json!([function("a", json!({})), function("b", json!({})), function("c", retrying), function("z", join)]);
    let edges = json!([edge("a", "z"), edge("b", "z"), edge("c", "z")]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}).to_string());
    let run = world.start("w", 1, "{}");
    let results = [("a", Outcome::Ok(b"1".to_vec())), ("b", failed("Odd")), ("c", failed("Odd"))];
    let results = results.map(|(node, outcome)| {
        let Job { id: job, attempt, .. } = world.job(node);
        (0, Command::JobResult(JobResult { job, attempt, outcome }))
    });
    world.settle(results.into());
    assert!(!world.names(&run).contains(&"NodeRetryScheduled"), "{:?}", world.names(&run));
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed, "{:?}", world.names(&run));
}
