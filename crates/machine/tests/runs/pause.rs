//! Pausing: what is in flight ends and is recorded, what follows waits for the resume.

use crate::world::{SECOND, World, failed};
use apex_machine::command::{Command, Fidelity, JobResult, PauseRun, ResumeRun};
use apex_machine::{Config, Reply, RunId, RunState};

const CHAIN: &str = r#"{"name": "w", "version": "1", "nodes": [
    {"id": "a", "type": "function", "config": {"name": "f"}, "retry": {"max_attempts": 2, "initial_s": 5, "jitter": 0},
     "compensation": {"name": "undo"}},
    {"id": "b", "type": "function", "config": {"name": "f"}}], "edges": [{"from": "a", "to": "b"}]}"#;

fn pause(world: &mut World, run_id: RunId) -> Reply {
    let command = PauseRun { tenant: "t".into(), run_id, reason: "look".into(), by: "me".into() };
    world.ask(Command::PauseRun(command))
}

fn resume(world: &mut World, run_id: RunId) -> Reply {
    world.ask(Command::ResumeRun(ResumeRun { tenant: "t".into(), run_id, by: "me".into() }))
}

fn paused(definition: &str) -> (World, RunId) {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    world.register(definition);
    let run = world.start("w", 1, "{}");
    let answer = pause(&mut world, run).outcome.unwrap();
    assert_eq!(answer.state, Some(RunState::Paused));
    assert!(!answer.existing);
    (world, run)
}

#[test]
fn what_is_in_flight_ends_and_what_follows_waits() {
    let (mut world, run) = paused(CHAIN);
    world.ok("a", "1");
    assert!(world.jobs.is_empty(), "b is not requested");
    assert_eq!(world.state(&run), RunState::Paused);
    let again = pause(&mut world, run).outcome.unwrap();
    assert!(again.existing);
    let details = String::from_utf8(again.details).unwrap();
    assert_eq!(details, format!("{{\"checkpoint_id\":\"{run}@2\"}}"));
    assert!(!resume(&mut world, run).outcome.unwrap().existing);
    assert!(resume(&mut world, run).outcome.unwrap().existing);
    world.ok("b", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(pause(&mut world, run).outcome.unwrap_err().code, "RUN_ENDED");
    assert_eq!(resume(&mut world, run).outcome.unwrap_err().code, "RUN_ENDED");
}

#[test]
fn a_retry_whose_time_comes_waits_too_also_over_a_crash() {
    for crashes in [false, true] {
        let (mut world, run) = paused(CHAIN);
        world.fail("a", "Broken");
        resume(&mut world, run);
        pause(&mut world, run);
        world.tick_next();
        assert!(world.jobs.is_empty() && world.machine.next_due().is_none(), "said once, then time has nothing to do");
        if crashes {
            world.crash(&mut crate::world::Chance(7));
            world.settle(Vec::new());
            assert!(world.jobs.is_empty());
        }
        resume(&mut world, run);
        assert_eq!(world.job("a").attempt, 2);
        world.ok("a", "1");
        world.ok("b", "1");
        assert_eq!(world.state(&run), RunState::Completed);
    }
}

#[test]
fn a_paused_run_that_fails_is_undone_once_it_goes_on_or_is_cancelled() {
    let failing = CHAIN.replace("\"id\": \"b\"", "\"id\": \"b\", \"timeout_s\": 30");
    for cancels in [false, true] {
        let mut world = World::new(Config { partitions: 4, ..Config::default() });
        world.register(&failing);
        let run = world.start("w", 1, "{}");
        world.ok("a", "1");
        pause(&mut world, run);
        world.fail("b", "Fatal");
        assert_eq!(world.state(&run), RunState::Paused);
        assert!(world.view(&run).error.is_some() && world.jobs.is_empty());
        if cancels {
            assert_eq!(world.cancel(run).outcome.unwrap().state, Some(RunState::Compensating));
        } else {
            resume(&mut world, run);
        }
        assert_eq!(pause(&mut world, run).outcome.unwrap_err().code, "WRONG_STATE");
        world.ok("a", "null");
        assert_eq!(world.state(&run), RunState::Failed);
    }
}

#[test]
fn the_time_of_a_run_goes_on_and_ends_the_pause() {
    let (mut world, run) = paused(&CHAIN.replacen('{', "{\"timeout_s\": 60, ", 1));
    let job = world.job("a");
    world.tick_at(world.now + 61 * SECOND);
    assert_eq!(world.state(&run), RunState::Compensating);
    world.answer(&job, failed("Late"));
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn nobody_pauses_a_run_of_another_tenant() {
    let (mut world, run_id) = paused(CHAIN);
    let command = ResumeRun { tenant: "other".into(), run_id, by: String::new() };
    assert_eq!(world.ask(Command::ResumeRun(command)).outcome.unwrap_err().code, "RUN_NOT_FOUND");
    assert_eq!(world.state(&run_id), RunState::Paused);
}

#[test]
fn the_checkpoint_of_a_fast_run_is_at_its_own_offset_also_when_the_turn_is_not_recorded_yet() {
    let config = Config { partitions: 4, fidelity: Fidelity::Fast, ..Config::default() };
    let mut world = World::new(config);
    world.register(CHAIN);
    let run = world.start("w", 1, "{}");
    let job = *world.jobs.keys().next().unwrap();
    let failed = JobResult { job, attempt: 1, outcome: failed("Broken") };
    let pause = PauseRun { tenant: "t".into(), run_id: run, reason: "look".into(), by: "me".into() };
    world.turn(vec![(0, Command::JobResult(failed)), (0, Command::PauseRun(pause))]);
    let created = world.seen.iter().find(|seen| seen.name == "CheckpointCreated").unwrap();
    assert_eq!(created.payload["offset"], created.seq);
}
