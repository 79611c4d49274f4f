use crate::world::{Chance, SECOND, World, failed};
use crate::{function, last, world};
use apex_machine::RunState;
use apex_machine::command::{Command, Heartbeat, Outcome};
use serde_json::json;

fn beating(more: serde_json::Value) -> World {
    let mut node = json!({"heartbeat_timeout_s": 10, "retry": {"max_attempts": 2, "initial_s": 1, "jitter": 0}});
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world(&json!([function("a", node)]), &json!([]))
}

fn beat(world: &mut World, after: i64, progress: &str) -> apex_machine::Reply {
    world.now += after;
    let job = world.job("a");
    let progress = progress.as_bytes().to_vec();
    world.ask(Command::Heartbeat(Heartbeat { job: job.id, attempt: job.attempt, progress }))
}

fn recorded(world: &World) -> usize {
    world.seen.iter().filter(|event| event.name == "HeartbeatRecorded").count()
}

#[test]
fn without_one_the_attempt_ends_and_the_next_one_gets_the_progress() {
    let mut world = beating(json!({}));
    let run = world.start("w", 1, "{}");
    assert_eq!(world.job("a").heartbeat_timeout_ns, Some(10 * SECOND));
    beat(&mut world, 9 * SECOND, "{\"row\":7}").outcome.unwrap();
    assert_eq!(world.machine.next_due(), Some(world.now + 10 * SECOND));
    world.tick_next();
    let result = last(&world, &run, "ToolResultReceived");
    assert_eq!((&result["status"], &result["error"]["type"]), (&json!("timeout"), &json!("HeartbeatTimeout")));
    world.jobs.clear();
    world.tick_next();
    let again = world.job("a");
    assert_eq!((again.attempt, &*again.progress), (2, b"{\"row\":7}".as_slice()));
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn at_most_one_a_second_is_recorded_and_each_counts() {
    let mut world = beating(json!({}));
    let run = world.start("w", 1, "{}");
    for row in 0..40 {
        beat(&mut world, SECOND / 4, &row.to_string()).outcome.unwrap();
    }
    assert_eq!(recorded(&world), 10);
    // The newest, not recorded yet, moves the deadline by the time at which it came.
    let came = world.now;
    let due = world.machine.next_due().unwrap();
    assert!(due < came + 10 * SECOND);
    world.tick_at(due);
    assert_eq!(recorded(&world), 11);
    assert_eq!(world.machine.next_due(), Some(came + 10 * SECOND));
    assert_eq!(last(&world, &run, "HeartbeatRecorded")["progress"], 39);
}

#[test]
fn the_newest_is_recorded_where_the_attempt_fails() {
    let mut world = beating(json!({}));
    world.start("w", 1, "{}");
    beat(&mut world, SECOND, "1");
    beat(&mut world, SECOND / 10, "2");
    beat(&mut world, SECOND / 10, "");
    world.fail("a", "Odd");
    world.tick_next();
    assert_eq!(&*world.job("a").progress, b"2");
}

#[test]
fn progress_survives_a_crash_and_stale_ones_change_nothing() {
    let mut world = beating(json!({}));
    world.start("w", 1, "{}");
    let first = world.job("a");
    beat(&mut world, SECOND, "\"half\"");
    world.crash(&mut Chance(7));
    assert_eq!(&*world.job("a").progress, b"\"half\"");
    let before = world.log.len();
    let stale = Command::Heartbeat(Heartbeat { job: first.id + 99, attempt: 1, progress: b"1".to_vec() });
    assert!(world.ask(stale).outcome.unwrap().existing);
    assert_eq!(world.log.len(), before);
}

#[test]
fn progress_over_its_bound_or_no_value_is_refused() {
    let mut world = beating(json!({}));
    world.start("w", 1, "{}");
    assert_eq!(beat(&mut world, 0, "{").outcome.unwrap_err().code, "VALUE_INVALID");
    let long = format!("\"{}\"", "x".repeat(70_000));
    assert_eq!(beat(&mut world, 0, &long).outcome.unwrap_err().code, "LIMIT_EXCEEDED");
    assert_eq!(recorded(&world), 0);
}

#[test]
fn all_attempts_together_have_a_time_limit() {
    let mut world = beating(json!({"heartbeat_timeout_s": 100, "schedule_to_close_s": 5,
        "retry": {"max_attempts": 9, "initial_s": 2, "factor": 1, "jitter": 0}}));
    let run = world.start("w", 1, "{}");
    let began = world.now;
    world.fail("a", "Odd");
    world.tick_next();
    assert_eq!(world.job("a").attempt, 2);
    assert_eq!(world.machine.next_due(), Some(began + 5 * SECOND));
    world.tick_next();
    let error = last(&world, &run, "WorkflowFailed")["error"].clone();
    assert_eq!(error["type"], "Timeout");
    assert!(error["message"].as_str().unwrap().contains("schedule_to_close_s"));
}

#[test]
fn no_retry_is_scheduled_that_would_begin_too_late() {
    let mut world = beating(json!({"schedule_to_close_s": 5,
        "retry": {"max_attempts": 9, "initial_s": 6, "jitter": 0}}));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "Odd");
}

#[test]
fn a_class_of_errors_has_its_own_policy() {
    let retry = json!({"max_attempts": 2, "initial_s": 1, "jitter": 0, "by_error": [
        {"types": ["RateLimited"], "max_attempts": 4, "initial_s": 30, "max_s": 100},
        {"types": ["Broken", "RateLimited"], "max_attempts": 1}]});
    let mut world = beating(json!({"heartbeat_timeout_s": 900, "retry": retry}));
    let run = world.start("w", 1, "{}");
    assert_eq!(world.job("a").max_attempts, 4);
    world.fail("a", "RateLimited");
    assert_eq!(world.machine.next_due(), Some(world.now + 30 * SECOND));
    world.tick_next();
    let job = world.job("a");
    world.answer(&job, failed("RateLimited"));
    assert_eq!(world.machine.next_due(), Some(world.now + 60 * SECOND), "the delay grows from its own first one");
    world.tick_next();
    let job = world.job("a");
    world.answer(&job, Outcome::Failed { kind: "Broken".into(), message: "b".into(), retryable: None });
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "Broken");
}

#[test]
fn progress_has_so_many_bytes() {
    let mut world = beating(json!({}));
    world.start("w", 1, "{}");
    let max = world.config.limits.progress_bytes_max;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    beat(&mut world, SECOND, &text(max)).outcome.unwrap();
    let refused = beat(&mut world, SECOND, &text(max + 1)).outcome.unwrap_err();
    assert!(refused.message.contains("progress_bytes_max"), "{}", refused.message);
}
