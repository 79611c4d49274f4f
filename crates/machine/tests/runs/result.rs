use crate::world::{SECOND, failed};
use crate::{function, last, world};
use apex_machine::RunState;
use apex_machine::command::{Command, JobResult, Outcome};
use serde_json::json;

fn retrying() -> crate::world::World {
    let retry = json!({"max_attempts": 3, "initial_s": 1, "factor": 2, "jitter": 0, "non_retryable": ["Fatal"]});
    world(&json!([function("a", json!({"retry": retry, "timeout_s": 10}))]), &json!([]))
}

#[test]
fn a_failed_attempt_is_tried_again_with_the_same_input_and_key() {
    let mut world = retrying();
    let run = world.start("w", 1, "{}");
    let first = world.job("a");
    world.fail("a", "Odd");
    assert_eq!(world.state(&run), RunState::Waiting);
    assert_eq!(world.machine.next_due(), Some(world.now + SECOND));
    world.tick_next();
    let second = world.job("a");
    assert_eq!((first.attempt, second.attempt, second.max_attempts), (1, 2, 3));
    assert_eq!((&first.input, &first.idempotency_key), (&second.input, &second.idempotency_key));
    world.fail("a", "Odd");
    assert_eq!(world.machine.next_due(), Some(world.now + 2 * SECOND));
    world.tick_next();
    world.fail("a", "Odd");
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(world.machine.counts().retries, 2, "of three attempts");
}

#[test]
fn what_is_not_retryable_is_not_tried_again() {
    for outcome in
        [failed("Fatal"), Outcome::Failed { kind: "X".into(), message: String::new(), retryable: Some(false) }]
    {
        let mut world = retrying();
        let run = world.start("w", 1, "{}");
        let job = world.job("a");
        world.answer(&job, outcome);
        assert_eq!(world.state(&run), RunState::Failed);
    }
}

#[test]
fn an_attempt_out_of_time_is_recorded_cancelled_and_its_late_result_is_stale() {
    let mut world = retrying();
    let run = world.start("w", 1, "{}");
    let job = world.job("a");
    world.tick_at(world.now + 10 * SECOND);
    assert_eq!(last(&world, &run, "ToolResultReceived")["status"], "timeout");
    assert!(world.asked_to_end.contains(&job.id));
    let recorded = world.log.len();
    world.answer(&job, Outcome::Ok(b"1".to_vec()));
    assert_eq!(world.log.len(), recorded);
    world.tick_next();
    world.ok("a", "2");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_duplicate_changes_nothing_and_is_answered() {
    let mut world = world(&json!([function("a", json!({})), function("b", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    let job = world.job("a");
    let result = Command::JobResult(JobResult { job: job.id, attempt: 1, outcome: Outcome::Ok(b"1".to_vec()) });
    let first = world.ask(result.clone()).outcome.unwrap();
    let taken = world.events(&run).into_iter().find(|event| event.name == "ToolResultReceived").unwrap().seq;
    assert_eq!((first.existing, first.offset), (false, taken));
    let before = world.machine.snapshot();
    let again = world.ask(result).outcome.unwrap();
    assert!(again.existing);
    assert_eq!(before, world.machine.snapshot());
}

#[test]
fn a_result_that_is_no_value_fails_the_attempt() {
    for (bad, kind) in [
        (b"{\"a\":NaN}".to_vec(), "ResultInvalid"),
        (b"".to_vec(), "ResultInvalid"),
        (vec![b' '; 5 << 20], "LimitExceeded"),
    ] {
        let mut world = retrying();
        let run = world.start("w", 1, "{}");
        let job = world.job("a");
        world.answer(&job, Outcome::Ok(bad));
        assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], kind);
    }
}

#[test]
fn recovery_hands_the_same_attempt_out_again() {
    let mut world = retrying();
    world.start("w", 1, "{}");
    world.fail("a", "Odd");
    world.tick_next();
    let before = world.job("a");
    world.crash(&mut crate::world::Chance(3));
    let after = world.job("a");
    assert_eq!(
        (before.attempt, &before.idempotency_key, &before.input),
        (after.attempt, &after.idempotency_key, &after.input)
    );
}
