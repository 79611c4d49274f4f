use crate::world::{Chance, SECOND, World};
use crate::{edge, function, last, world_of};
use apex_machine::RunState;
use serde_json::{Value, json};

/// A workflow of one call of the tool `tool`, which has a breaker that opens at the second failure for 30 s.
fn calling(more: Value) -> World {
    let mut node = json!({"id": "a", "type": "function", "config": {"name": "tool"}, "input": {"x": "${inputs.x}"},
        "breaker": {"failure_threshold": 2, "timeout_s": 30}});
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    world_of(json!({"name": "w", "version": "1", "nodes": [node]}))
}

fn state(world: &World) -> Option<&'static str> {
    world.machine.breakers("t", 10, "").items.first().map(|breaker| breaker.state)
}

fn open(world: &mut World) {
    for n in 0..2 {
        world.start("w", 100 + n, "{\"x\":1}");
        world.fail("a", "Odd");
    }
    assert_eq!(state(world), Some("open"));
}

#[test]
fn failures_in_a_row_open_it_and_it_answers_without_a_job() {
    let mut world = calling(json!({}));
    world.start("w", 1, "{\"x\":1}");
    world.fail("a", "Odd");
    world.start("w", 2, "{\"x\":1}");
    world.ok("a", "1");
    assert_eq!(state(&world), None, "a success forgets the failures before it");
    open(&mut world);
    let now = world.now;
    let view = &world.machine.breakers("t", 10, "").items[0];
    assert_eq!((view.changed_ns, view.due_ns), (Some(now), Some(now + 30 * SECOND)));
    let run = world.start("w", 9, "{\"x\":1}");
    assert_eq!(world.state(&run), RunState::Failed);
    assert!(world.jobs.is_empty());
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!(error["type"], "CircuitOpen");
    assert!(error["message"].as_str().unwrap().contains("tool"));
    assert!(world.machine.breakers("other", 10, "").items.is_empty());
}

#[test]
fn half_open_lets_probes_through_and_their_success_closes_it() {
    let mut world = calling(json!({"breaker": {"failure_threshold": 2, "timeout_s": 30, "probes": 2}}));
    open(&mut world);
    world.tick_at(world.now + 30 * SECOND);
    let runs: Vec<_> = (0..3).map(|n| world.start("w", n, "{\"x\":1}")).collect();
    assert_eq!((state(&world), world.jobs.len()), (Some("half_open"), 2));
    assert_eq!(world.state(&runs[2]), RunState::Failed);
    world.ok("a", "1");
    assert_eq!(state(&world), Some("half_open"));
    world.ok("a", "1");
    assert_eq!(state(&world), None);
    let changes: Vec<&str> = world
        .seen
        .iter()
        .filter(|event| event.name == "BreakerChanged")
        .map(|event| event.payload["state"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["open", "half_open", "closed"]);
}

#[test]
fn a_failed_probe_opens_it_again_and_one_that_tells_nothing_is_replaced() {
    let mut world = calling(json!({}));
    open(&mut world);
    world.tick_at(world.now + 30 * SECOND);
    world.start("w", 1, "{\"x\":1}");
    world.fail("a", "Odd");
    assert_eq!(state(&world), Some("open"));
    world.tick_at(world.now + 30 * SECOND);
    world.start("w", 2, "{\"x\":1}");
    let silent = world.job("a");
    world.jobs.clear();
    world.tick_at(world.now + 30 * SECOND);
    world.start("w", 3, "{\"x\":1}");
    assert_eq!(world.jobs.len(), 1, "another probe, although the first one never ended");
    world.answer(&silent, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    assert_eq!(state(&world), Some("half_open"), "the outcome of an older probe does not count");
    world.ok("a", "1");
    assert_eq!(state(&world), None);
}

#[test]
fn it_survives_a_crash() {
    let mut world = calling(json!({}));
    open(&mut world);
    for seed in 0..6 {
        world.crash(&mut Chance(seed));
        assert_eq!(state(&world), Some("open"));
        let run = world.start("w", 10 + seed, "{\"x\":1}");
        assert_eq!(last(&world, &run, "ToolResultReceived")["error"]["type"], "CircuitOpen");
    }
}

#[test]
fn a_refusal_for_what_was_asked_says_nothing_of_the_tool() {
    let mut world = calling(json!({"retry": {"non_retryable": ["NotFound"]}}));
    for n in 0..5 {
        world.start("w", n, "{\"x\":1}");
        world.fail("a", "NotFound");
    }
    assert_eq!(state(&world), None);
}

#[test]
fn a_fallback_value_ends_the_node_well() {
    let mut world = calling(json!({"breaker": {"failure_threshold": 2, "timeout_s": 30,
        "fallback": {"value": {"price": "${inputs.x}"}}}}));
    open(&mut world);
    let run = world.start("w", 1, "{\"x\":7}");
    assert_eq!(last(&world, &run, "ToolResultReceived")["fallback"], true);
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"a": {"price": 7}}));
}

#[test]
fn a_cached_fallback_is_the_last_output_for_the_same_input() {
    let mut world =
        calling(json!({"breaker": {"failure_threshold": 2, "timeout_s": 30, "fallback": {"cached": true}}}));
    world.start("w", 1, "{\"x\":1}");
    world.ok("a", "\"of one\"");
    world.start("w", 2, "{\"x\":2}");
    world.ok("a", "\"of two\"");
    open(&mut world);
    let hit = world.start("w", 3, "{\"x\":2}");
    assert_eq!(last(&world, &hit, "WorkflowCompleted")["output"], json!({"a": "of two"}));
    let miss = world.start("w", 4, "{\"x\":3}");
    assert_eq!(last(&world, &miss, "WorkflowFailed")["error"]["type"], "CircuitOpen");
}

#[test]
fn an_attempt_that_was_shut_out_is_retried_by_the_policy_with_the_input_it_would_have_had() {
    let mut world = calling(json!({"retry": {"max_attempts": 1, "jitter": 0, "initial_s": 1,
        "by_error": [{"types": ["CircuitOpen"], "max_attempts": 5, "initial_s": 40}]}}));
    open(&mut world);
    let run = world.start("w", 1, "{\"x\":5}");
    assert_eq!(world.state(&run), RunState::Waiting);
    world.crash(&mut Chance(4));
    world.settle(vec![]);
    world.tick_next();
    let job = world.job("a");
    assert_eq!((job.attempt, &*job.input), (2, b"{\"x\":5}".as_slice()));
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn another_node_may_be_the_fallback() {
    let guard = "nodes.a.error.type == 'CircuitOpen'";
    let mut edges = edge("a", "b");
    edges["on"] = json!("error");
    edges["when"] = json!(guard);
    let breaker = json!({"failure_threshold": 1, "timeout_s": 30});
    let nodes = json!([function("a", json!({"breaker": breaker})), function("b", json!({}))]);
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": nodes, "edges": [edges]}));
    let failed = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    assert_eq!(world.state(&failed), RunState::Failed, "another error is not taken by the edge");
    let run = world.start("w", 2, "{}");
    world.ok("b", "\"instead\"");
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"b": "instead"}));
}

#[test]
fn an_outcome_from_before_it_opened_does_not_count_after_it_closed() {
    let mut world = calling(json!({"breaker": {"failure_threshold": 1, "timeout_s": 30}}));
    let old = world.start("w", 1, "{\"x\":1}");
    let old = world.jobs.values().find(|job| job.run_id == old).unwrap().clone();
    let bad = world.start("w", 2, "{\"x\":1}");
    let bad = world.jobs.values().find(|job| job.run_id == bad).unwrap().clone();
    world.answer(&bad, crate::world::failed("Odd"));
    assert_eq!(state(&world), Some("open"));
    world.tick_at(world.now + 30 * SECOND);
    let probe = world.start("w", 3, "{\"x\":1}");
    let probe = world.jobs.values().find(|job| job.run_id == probe).unwrap().clone();
    world.answer(&probe, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    assert_eq!(state(&world), None, "it is closed");
    world.answer(&old, crate::world::failed("Odd"));
    assert_eq!(state(&world), None, "that tells nothing of the tool as it is now");
    world.crash(&mut Chance(5));
    assert_eq!(state(&world), None);
}
