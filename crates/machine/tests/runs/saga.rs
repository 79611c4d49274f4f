use crate::world::{SECOND, World, failed};
use crate::{edge, function, last, world, world_of};
use apex_machine::command::{Command, JobResult, Outcome};
use apex_machine::{Job, RunId, RunState};
use serde_json::{Value, json};

fn undoable(id: &str) -> Value {
    function(
        id,
        json!({"effect": "write", "compensation": {"name": format!("undo_{id}"), "input": {"id": format!("${{nodes.{id}.output.id}}")},
        "retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}}}),
    )
}

/// A run whose `a` and `b` went well and are to be undone, since `c` failed.
fn after_the_third_failed() -> (World, RunId) {
    let nodes = json!([undoable("a"), undoable("b"), function("c", json!({}))]);
    let mut world = world(&nodes, &json!([edge("a", "b"), edge("b", "c")]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"id\":1}");
    world.ok("b", "{\"id\":2}");
    world.fail("c", "Odd");
    (world, run)
}

#[test]
fn what_completed_is_undone_newest_first_and_goes_on_after_one_fails() {
    let (mut world, run) = after_the_third_failed();
    assert_eq!(world.state(&run), RunState::Compensating);
    let job = world.job("b");
    assert!(job.compensation);
    assert_eq!((&*job.name, &*job.input), ("undo_b", &b"{\"id\":2}"[..]));
    assert_eq!(job.idempotency_key, format!("{run}/b/undo"));
    world.fail("b", "Broken");
    assert_eq!(world.view(&run).state, RunState::Compensating);
    world.tick_next();
    assert_eq!(world.job("b").attempt, 2);
    world.fail("b", "Broken");
    world.ok("a", "null");
    let failed = last(&world, &run, "WorkflowFailed");
    assert_eq!(failed["compensation_executed"], true);
    assert_eq!(
        failed["compensation_results"],
        json!([
        {"step_id": "b", "success": false, "error": {"type": "Broken", "message": "it broke"}},
        {"step_id": "a", "success": true}])
    );
    assert_eq!(failed["error"]["node"], "c");
    let counts = world.machine.counts();
    assert_eq!((counts.compensations, counts.retries), (2, 1), "nodes, and attempts after the first");
}

#[test]
fn why_something_could_not_be_undone_is_told_in_full_where_there_is_room() {
    let (mut world, run) = after_the_third_failed();
    let message = "the account is closed ".repeat(10);
    for node in ["b", "a"] {
        let outcome = Outcome::Failed { kind: "Closed".into(), message: message.clone(), retryable: Some(false) };
        let job = world.job(node);
        world.answer(&job, outcome);
    }
    let results = last(&world, &run, "WorkflowFailed")["compensation_results"].clone();
    assert!(results.as_array().unwrap().iter().all(|result| result["error"]["message"] == message), "{results}");
}

#[test]
fn a_failing_run_waits_for_what_is_in_flight_and_undoes_unknown_writes() {
    let nodes = json!([undoable("a"), function("b", json!({})), function("c", json!({}))]);
    let mut world = world(&nodes, &json!([edge("a", "c")]));
    let run = world.start("w", 1, "{}");
    let slow = world.job("a");
    world.fail("b", "Odd");
    assert!(world.asked_to_end.contains(&slow.id));
    assert_eq!(world.names(&run).last(), Some(&"DeadLettered"));
    world.answer(&slow, Outcome::Cancelled { message: String::new() });
    assert_eq!(last(&world, &run, "CompensationPlanned")["steps"], json!(["a"]));
    assert_eq!(&*world.job("a").input, b"{\"id\":null}");
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn a_write_that_ends_ok_while_the_run_fails_is_undone_too_and_nothing_follows_it() {
    let nodes = json!([undoable("a"), function("b", json!({})), function("c", json!({}))]);
    let mut world = world(&nodes, &json!([edge("a", "c")]));
    let run = world.start("w", 1, "{}");
    let slow = world.job("a");
    world.fail("b", "Odd");
    world.answer(&slow, Outcome::Ok(b"{\"id\":7}".to_vec()));
    assert!(world.jobs.values().all(|job| &*job.node != "c"));
    assert_eq!(&*world.job("a").input, b"{\"id\":7}");
    world.ok("a", "1");
    assert_eq!(
        last(&world, &run, "WorkflowFailed")["compensation_results"],
        json!([{"step_id": "a", "success": true}])
    );
}

#[test]
fn nothing_to_undo_says_so() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    let failed = last(&world, &run, "WorkflowFailed");
    assert_eq!((&failed["compensation_executed"], &failed["compensation_results"]), (&json!(false), &json!([])));
}

#[test]
fn an_output_that_fails_undoes_as_well() {
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": [undoable("a")], "edges": [],
        "output": {"x": "${nodes.a.output.id / 0}"}}));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"id\":1}");
    assert_eq!(world.state(&run), RunState::Compensating);
    world.ok("a", "1");
    let failed = last(&world, &run, "WorkflowFailed");
    assert_eq!(
        (&failed["error"]["code"], &failed["compensation_executed"]),
        (&json!("EXPRESSION_FAILED"), &json!(true))
    );
}

#[test]
fn compensation_out_of_time_gives_up_the_rest() {
    let mut world = world_of(json!({"name": "w", "version": "1", "compensation_timeout_s": 5,
        "nodes": [undoable("a"), undoable("b"), function("c", json!({}))], "edges": [edge("a", "b"), edge("b", "c")]}));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"id\":1}");
    world.ok("b", "{\"id\":1}");
    world.fail("c", "Odd");
    let job = world.job("b");
    world.tick_at(world.now + 5 * SECOND);
    assert!(world.asked_to_end.contains(&job.id));
    let results = last(&world, &run, "WorkflowFailed")["compensation_results"].clone();
    assert_eq!(
        results.as_array().unwrap().iter().map(|r| (&r["step_id"], &r["error"]["type"])).collect::<Vec<_>>(),
        [(&json!("b"), &json!("Timeout")), (&json!("a"), &json!("Timeout"))]
    );
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn after_a_crash_the_same_compensation_is_handed_out_again() {
    let mut world = world(&json!([undoable("a"), function("b", json!({}))]), &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "{\"id\":1}");
    world.fail("b", "Odd");
    let before = world.job("a");
    world.crash(&mut crate::world::Chance(1));
    let after = world.job("a");
    assert_eq!(
        (before.attempt, &before.idempotency_key, before.compensation),
        (after.attempt, &after.idempotency_key, true)
    );
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn after_a_crash_a_write_of_a_failing_run_is_of_unknown_outcome_and_undone() {
    let mut world = world(&json!([undoable("a"), function("b", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.fail("b", "Odd");
    world.crash(&mut crate::world::Chance(1));
    assert!(world.jobs.is_empty());
    world.settle(vec![]);
    assert!(world.job("a").compensation);
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn once_the_time_of_the_compensation_is_over_nothing_is_tried_again() {
    let undo = json!({"name": "undo", "input": {}, "retry": {"max_attempts": 3, "initial_s": 6, "jitter": 0}});
    let a = function("a", json!({"effect": "write", "compensation": undo}));
    let definition = json!({"name": "w", "version": "1", "compensation_timeout_s": 5,
        "nodes": [a, function("b", json!({"effect": "read"}))], "edges": [edge("a", "b")]});
    for is_waiting in [false, true] {
        let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
        config.limits.events_per_turn_max = 1;
        let mut world = crate::world::World::new(config);
        world.register(&definition.to_string());
        let run = world.start("w", 1, "{}");
        world.ok("a", "1");
        world.fail("b", "Odd");
        let Job { id: job, attempt, .. } = world.job("a");
        let result = JobResult { job, attempt, outcome: failed("Broken") };
        let result = vec![(0, Command::JobResult(result))];
        if is_waiting {
            world.turn(result.clone());
        }
        world.now += 6 * SECOND;
        world.turn(vec![(0, Command::Tick)]);
        assert_eq!(world.names(&run).last(), Some(&"TimerFired"), "the turn has no room for what follows from it");
        world.turn(if is_waiting { vec![(0, Command::Tick)] } else { result });
        world.settle(vec![]);
        let tail = if is_waiting { "NodeRetryScheduled" } else { "CompensationRequested" };
        assert_eq!(
            world.names(&run)[6..],
            ["CompensationRequested", tail, "TimerFired", "CompensationCompleted", "WorkflowFailed"]
                [usize::from(!is_waiting)..],
        );
        assert_eq!(world.state(&run), RunState::Failed);
    }
}

#[test]
fn what_is_undone_in_time_is_waited_for_no_longer() {
    let undo = json!({"effect": "write", "compensation": {"name": "undo", "input": {}, "timeout_s": 5}});
    let mut world = world(&json!([function("a", undo), function("b", json!({}))]), &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.fail("b", "Odd");
    assert_eq!(world.machine.next_due(), Some(world.now + 5 * SECOND));
    world.ok("a", "null");
    assert_eq!((world.state(&run), world.machine.next_due()), (RunState::Failed, None));
}
