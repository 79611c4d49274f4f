use crate::world::SECOND;
use crate::{edge, function, last, world, world_of};
use apex_machine::RunState;
use serde_json::json;

#[test]
fn a_timer_waits_and_gives_its_time() {
    let nodes = json!([{"id": "t", "type": "timer", "config": {"duration_s": 1.5}},
        function("a", json!({"input": {"at": "${nodes.t.output.fired_at}"}}))]);
    let mut world = world(&nodes, &json!([edge("t", "a")]));
    let run = world.start("w", 1, "{}");
    assert_eq!(world.state(&run), RunState::Waiting);
    let due = world.machine.next_due().unwrap();
    assert_eq!(due, world.now + 3 * SECOND / 2);
    world.tick_at(due - 1);
    assert_eq!(world.state(&run), RunState::Waiting);
    world.tick_at(due);
    assert_eq!(&*world.job("a").input, b"{\"at\":\"1970-01-01T00:00:02.500000000Z\"}");
}

#[test]
fn a_timer_until_a_time() {
    let nodes = json!([{"id": "t", "type": "timer", "config": {"until": "${inputs.when}"}}]);
    let mut world = world(&nodes, &json!([]));
    let run = world.start("w", 1, "{\"when\":\"1970-01-02T00:00:00Z\"}");
    assert_eq!(world.machine.next_due(), Some(86_400 * SECOND));
    world.tick_next();
    assert_eq!(world.state(&run), RunState::Completed);
    let run = world.start("w", 2, "{\"when\":\"tomorrow\"}");
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "EXPRESSION_FAILED");
}

#[test]
fn a_run_out_of_time_fails() {
    let mut world = world_of(json!({"name": "w", "version": "1", "timeout_s": 60, "edges": [],
        "nodes": [{"id": "t", "type": "timer", "config": {"duration_s": 1000}}]}));
    let run = world.start("w", 1, "{}");
    world.tick_next();
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "RUN_TIMEOUT");
    assert_eq!(world.machine.next_due(), None);
}

#[test]
fn time_never_runs_backwards() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    world.now = 100 * SECOND;
    let run = world.start("w", 1, "{}");
    world.now = 50 * SECOND;
    world.ok("a", "1");
    assert_eq!(world.view(&run).ended_ns, Some(100 * SECOND));
}
