use crate::world::{Chance, World};
use crate::{edge, function, last, world};
use apex_machine::command::{Command, Heartbeat, Outcome};
use apex_machine::{JobKind, RunState};
use serde_json::{Value, json};

fn correcting() -> World {
    let undo = json!({"compensation": {"name": "undo", "input": {}}});
    let corrected = json!({"input": {"city": "${inputs.x}"}, "compensation": {"name": "undo", "input": {}},
        "correction": {"model": "m", "instructions": "Use a city that exists."}});
    world(&json!([function("before", undo), function("a", corrected)]), &json!([edge("before", "a")]))
}

fn fail_a(world: &mut World) -> apex_machine::RunId {
    let run = world.start("w", 1, "{\"x\":\"Atlantis\"}");
    world.ok("before", "1");
    world.fail("a", "NoSuchCity");
    run
}

#[test]
fn the_model_is_asked_and_one_more_attempt_has_its_input() {
    let mut world = correcting();
    let run = fail_a(&mut world);
    world.crash(&mut Chance(2));
    let asked = world.job("a");
    assert_eq!((asked.kind, &*asked.name, asked.attempt), (JobKind::Correction, "m", 1));
    let question: Value = serde_json::from_slice(&asked.input).unwrap();
    assert_eq!(
        question,
        json!({"function": "a", "input": {"city": "Atlantis"}, "instructions": "Use a city that exists.",
            "error": {"type": "NoSuchCity", "message": "it broke"}})
    );
    assert!(asked.idempotency_key.ends_with("/a/correction"));
    assert_eq!(last(&world, &run, "ToolCallRequested")["max_attempts"], 1, "a model is asked once");
    // What the model writes is data: an expression in it is never evaluated.
    world.answer(&asked, Outcome::Ok(b"{\"input\":{\"city\":\"${inputs.x}\"},\"reason\":\"it sank\"}".to_vec()));
    world.crash(&mut Chance(5));
    world.settle(vec![]);
    let job = world.job("a");
    assert_eq!((job.kind, job.attempt, &*job.input), (JobKind::Function, 2, b"{\"city\":\"${inputs.x}\"}".as_slice()));
    world.ok("a", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    let proposed = last(&world, &run, "CorrectionProposed");
    assert_eq!((&proposed["reason"], &proposed["attempt"]), (&json!("it sank"), &json!(2)));
}

#[test]
fn it_comes_before_compensation_and_only_so_often() {
    let mut world = correcting();
    let run = fail_a(&mut world);
    assert_eq!(world.state(&run), RunState::Running);
    world.ok("a", "{\"input\":{\"city\":\"Ys\"}}");
    world.fail("a", "NoSuchCity");
    assert_eq!(world.state(&run), RunState::Compensating);
    world.ok("before", "1");
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "NoSuchCity");
}

#[test]
fn an_answer_that_is_no_input_fails_the_node_with_its_own_error() {
    for (outcome, says) in [
        (Outcome::Ok(b"{\"input\":[1]}".to_vec()), "no object"),
        (Outcome::Ok(b"{\"other\":1}".to_vec()), "gave no input"),
        (Outcome::Failed { kind: "UNAVAILABLE".into(), message: "down".into(), retryable: Some(true) }, "down"),
        (Outcome::TimedOut { message: "slow".into() }, "slow"),
    ] {
        let mut world = correcting();
        let run = fail_a(&mut world);
        let job = world.job("a");
        world.answer(&job, outcome);
        let result = last(&world, &run, "ToolResultReceived");
        assert_eq!(result["error"]["type"], "NoSuchCity");
        assert!(result["error"]["message"].as_str().unwrap().contains(says), "{result}");
        assert!(result.get("unknown").is_none(), "asking a model is no write");
        assert_eq!(world.state(&run), RunState::Compensating);
    }
}

#[test]
fn a_cancelled_run_does_not_wait_for_a_write_that_was_only_being_corrected() {
    let mut world = correcting();
    let run = fail_a(&mut world);
    world.cancel(run);
    let job = world.job("a");
    world.answer(&job, Outcome::Cancelled { message: String::new() });
    assert!(last(&world, &run, "ToolResultReceived").get("unknown").is_none());
    let steps = last(&world, &run, "CompensationPlanned")["steps"].clone();
    assert_eq!(steps, json!(["before"]));
}

#[test]
fn a_sign_of_life_of_the_model_is_none_of_the_attempt() {
    let mut world = correcting();
    let run = fail_a(&mut world);
    let asked = world.job("a");
    let beat = Heartbeat { job: asked.id, attempt: asked.attempt, progress: b"5".to_vec() };
    assert!(world.ask(Command::Heartbeat(beat)).outcome.unwrap().existing);
    assert!(!world.names(&run).contains(&"HeartbeatRecorded"));
}

#[test]
fn a_corrected_attempt_that_its_breaker_shuts_out_is_followed_after_a_delay() {
    let breaker = json!({"failure_threshold": 1, "timeout_s": 60});
    let retry = json!({"max_attempts": 5, "initial_s": 7, "jitter": 0, "non_retryable": ["NoSuchCity"]});
    let a = json!({"breaker": breaker, "retry": retry, "correction": {"model": "m"}});
    let mut world = world(&json!([function("a", a)]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "NoSuchCity");
    let asked = world.job("a");
    world.start("w", 2, "{}");
    let other = world.jobs.values().find(|job| job.run_id != run).unwrap().clone();
    world.answer(&other, crate::world::failed("Broken"));
    world.answer(&asked, Outcome::Ok(b"{\"input\":{\"x\":1}}".to_vec()));
    let names = world.names(&run);
    assert_eq!(names[names.len() - 3..], ["CorrectionProposed", "ToolResultReceived", "NodeRetryScheduled"]);
    assert_eq!(last(&world, &run, "ToolResultReceived")["attempt"], 2);
}
