use crate::{edge, function, last, world};
use apex_machine::RunState;
use apex_machine::command::Outcome;
use apex_machine::error::code;
use serde_json::json;

#[test]
fn a_cancel_ends_what_is_in_flight_then_the_run() {
    let mut world = world(&json!([function("a", json!({})), function("b", json!({}))]), &json!([edge("a", "b")]));
    let run = world.start("w", 1, "{}");
    let job = world.job("a");
    let answer = world.cancel(run).outcome.unwrap();
    assert_eq!((answer.existing, answer.state), (false, Some(RunState::Compensating)));
    assert!(world.asked_to_end.contains(&job.id));
    assert!(world.cancel(run).outcome.unwrap().existing);
    world.answer(&job, Outcome::Cancelled { message: String::new() });
    assert_eq!(world.state(&run), RunState::Cancelled);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], code::CANCELLED);
    let again = world.cancel(run).outcome.unwrap();
    assert_eq!((again.existing, again.state), (true, Some(RunState::Cancelled)));
}

#[test]
fn an_ended_or_unknown_run_is_not_cancelled() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    assert_eq!(world.cancel(run).outcome.unwrap_err().code, code::RUN_ENDED);
    let unknown = apex_machine::RunId::new_v7(9, 0, 9);
    assert_eq!(world.cancel(unknown).outcome.unwrap_err().code, code::RUN_NOT_FOUND);
}

#[test]
fn a_job_that_was_never_handed_out_is_not_handed_out() {
    let mut world = world(&json!([function("a", json!({"effect": "write"}))]), &json!([]));
    let start = world.start_command("w", 1, "", "{}");
    let run = start.run_id;
    world.turn(vec![(0, apex_machine::Command::StartRun(Box::new(start)))]);
    let cancel = apex_machine::command::CancelRun {
        tenant: "t".into(),
        run_id: run,
        reason: String::new(),
        compensate: true,
        by: String::new(),
    };
    world.turn(vec![(0, apex_machine::Command::CancelRun(cancel))]);
    world.settle(vec![]);
    assert!(world.jobs.is_empty());
    assert_eq!(world.state(&run), RunState::Cancelled);
    assert!(last(&world, &run, "ToolResultReceived").get("unknown").is_none());
}

#[test]
fn a_cancel_of_a_job_waits_for_the_record_that_asks_for_it() {
    let nodes = json!([function("a", json!({"timeout_s": 5}))]);
    let mut world = world(&nodes, &json!([]));
    world.start("w", 1, "{}");
    let job = world.job("a");
    world.now += 5 * crate::world::SECOND;
    let durable = world.durable;
    world.turn(vec![(0, apex_machine::command::Command::Tick)]);
    assert_eq!(world.seen[durable as usize].payload["status"], "timeout");
    world.sync(durable);
    assert!(world.asked_to_end.is_empty(), "the record of the timeout is not durable");
    world.sync(durable + 1);
    assert!(world.asked_to_end.contains(&job.id));
}
