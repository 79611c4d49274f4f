use crate::{edge, function, last, world};
use apex_machine::RunState;
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
