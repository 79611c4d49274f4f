use crate::{edge, function, last, world, world_of};
use apex_machine::RunState;
use serde_json::json;

#[test]
fn a_false_guard_sends_a_dead_token() {
    let nodes =
        json!([function("a", json!({})), function("b", json!({})), function("c", json!({})), function("d", json!({}))]);
    let edges = json!([{"from": "a", "to": "b", "when": "nodes.a.output.v > 1"},
        {"from": "a", "to": "c", "when": "nodes.a.output.v <= 1"}, edge("b", "d"), edge("c", "d")]);
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"v\":1}");
    assert_eq!(last(&world, &run, "ToolResultReceived")["dead"], json!(["b"]));
    assert_eq!(last(&world, &run, "NodeSkipped")["node"], "b");
    world.ok("c", "2");
    world.ok("d", "3");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"d": 3}));
}

#[test]
fn any_fires_at_the_first_and_cancels_the_rest() {
    let nodes = json!([function("a", json!({})), function("b", json!({"effect": "write"})), function("c", json!({})),
        {"id": "j", "type": "join", "join": "any", "cancel_rest": true}]);
    let mut world = world(&nodes, &json!([edge("a", "j"), edge("b", "c"), edge("c", "j")]));
    let run = world.start("w", 1, "{}");
    let slow = world.job("b");
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(world.asked_to_end.contains(&slow.id));
    let cancelled = world.events(&run).into_iter().find(|e| e.node() == "b" && e.name == "ToolResultReceived").unwrap();
    assert_eq!(cancelled.payload["status"], "cancelled");
    assert_eq!(cancelled.payload["unknown"], true);
    assert_eq!(last(&world, &run, "NodeSkipped")["node"], "c");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"j": {"live": 1}}));
}

#[test]
fn losers_go_on_without_cancel_rest() {
    let nodes = json!([function("a", json!({})), function("b", json!({})), {"id": "j", "type": "join", "join": "any"}]);
    let mut world = world(&nodes, &json!([edge("a", "j"), edge("b", "j")]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Running);
    world.ok("b", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_quorum_fires_at_the_nth_and_a_required_one_out_of_reach_fails_the_run() {
    let nodes = |required: bool| {
        json!([
            function("a", json!({"on_error": "continue"})),
            function("b", json!({"on_error": "continue"})),
            function("c", json!({"on_error": "continue"})),
            function("q", json!({"join": {"quorum": 2, "required": required}}))
        ])
    };
    let edges = json!([edge("a", "q"), edge("b", "q"), edge("c", "q")]);
    let mut world = world(&nodes(true), &edges);
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.ok("b", "1");
    assert_eq!(&*world.job("q").node, "q");
    let late = world.job("c");
    world.fail("c", "X");
    world.ok("q", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(!world.jobs.contains_key(&late.id));
    let run = world.start("w", 2, "{}");
    world.fail("a", "X");
    world.fail("b", "X");
    world.ok("c", "1");
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "QUORUM_UNREACHABLE");
    let mut world = crate::world(&nodes(false), &edges);
    let run = world.start("w", 1, "{}");
    world.fail("a", "X");
    world.fail("b", "X");
    assert_eq!(last(&world, &run, "NodeSkipped")["node"], "q");
    world.ok("c", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_failure_takes_its_error_edge_and_shows_its_error() {
    let nodes = json!([
        function("a", json!({})),
        function("b", json!({"input": {"why": "${nodes.a.error.type}", "s": "${nodes.a.status}"}})),
        function("c", json!({}))
    ]);
    let mut world = world(&nodes, &json!([{"from": "a", "to": "b", "on": "error"}, edge("a", "c")]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    assert_eq!(&*world.job("b").input, b"{\"s\":\"failed\",\"why\":\"Odd\"}");
    world.ok("b", "1");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"b": 1}));
}

#[test]
fn an_unhandled_failure_fails_the_run_or_continues() {
    let mut world = world(&json!([function("a", json!({})), function("b", json!({}))]), &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    let error = &last(&world, &run, "WorkflowFailed")["error"];
    assert_eq!(*error, json!({"code": "NODE_FAILED", "type": "Odd", "message": "it broke", "node": "a"}));
    let nodes = json!([function("a", json!({"on_error": "continue"})), function("b", json!({}))]);
    let mut world = crate::world(&nodes, &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    assert_eq!(last(&world, &run, "NodeSkipped")["node"], "b");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({}));
}

#[test]
fn an_expression_that_fails_fails_the_run() {
    let nodes = json!([function("a", json!({})), function("b", json!({"input": {"x": "${nodes.a.output.v / 0}"}}))]);
    let mut world = world(&nodes, &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"v\":1}");
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!((&error["code"], &error["node"]), (&json!("EXPRESSION_FAILED"), &json!("b")));
    let nodes = json!([function("a", json!({"on_error": "continue"})), function("b", json!({}))]);
    let mut world = crate::world(&nodes, &json!([{"from": "a", "to": "b", "when": "nodes.a.output.v > 1"}]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"v\":\"text\"}");
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "EXPRESSION_FAILED");
}

#[test]
fn only_what_is_read_of_a_large_output_is_kept_and_serves_as_the_whole() {
    let mut world = world_of(json!({"name": "w", "version": "1",
        "nodes": [function("a", json!({})), function("b", json!({"input": {"x": "${nodes.a.output.deep.x}"}}))],
        "edges": [{"from": "a", "to": "b", "when": "nodes.a.output.go"}],
        "output": {"x": "${nodes.a.output.deep.x}"}}));
    let run = world.start("w", 1, "{}");
    let big = "y".repeat(2_000);
    world.ok("a", &json!({"deep": {"x": [1, 2], "big": big}, "go": true, "big": big}).to_string());
    let kept = last(&world, &run, "ToolResultReceived")["kept"].clone();
    assert_eq!(kept, json!([{"path": "/deep/x", "value": [1, 2]}, {"path": "/go", "value": true}]));
    assert_eq!(&*world.job("b").input, b"{\"x\":[1,2]}");
    world.ok("b", "1");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"x": [1, 2]}));
    assert!(world.machine.snapshot().len() < 1_500);
}

#[test]
fn what_had_not_begun_when_a_join_fired_is_not_begun() {
    let join = json!({"id": "j", "type": "join", "join": "any", "cancel_rest": true});
    let pass = json!({"id": "p", "type": "join"});
    let nodes = json!([function("s", json!({})), pass, function("b", json!({})), join, function("z", json!({}))]);
    // The token is at the join before it is, by way of `p`, at `b`.
    let edges = json!([edge("s", "p"), edge("p", "b"), edge("s", "j"), edge("b", "j"), edge("j", "z")]);
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{}");
    world.ok("s", "1");
    let events = world.events(&run);
    let of_b: Vec<&str> = events.iter().filter(|event| event.node() == "b").map(|event| event.name).collect();
    let at_join = events.iter().position(|event| event.node() == "j").unwrap();
    let at_b = events.iter().position(|event| event.node() == "b").unwrap();
    assert!(at_join < at_b);
    assert_eq!(of_b, ["NodeSkipped"]);
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn half_of_a_wide_fan_is_dead() {
    let n = 30_000;
    let mut nodes = vec![function("s", json!({}))];
    let mut edges = Vec::new();
    for at in 0..n {
        nodes.push(json!({"id": format!("t{at}"), "type": "join"}));
        let mut edge = edge("s", &format!("t{at}"));
        edge["when"] = json!(format!("{} == 0", at % 2));
        edges.push(edge);
    }
    let mut world = world(&json!(nodes), &json!(edges));
    world.compares = false;
    let run = world.start("w", 1, "{}");
    world.ok("s", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(world.names(&run).iter().filter(|name| **name == "NodeSkipped").count(), n / 2);
}
