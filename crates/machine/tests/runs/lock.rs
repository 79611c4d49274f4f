//! Critical sections: one at a time, in the order of arrival, given back however a run ends.

use crate::world::{Chance, World};
use apex_machine::command::{Command, Fidelity, JobResult, Outcome, PauseRun, ResumeRun};
use apex_machine::{Config, RunId, RunState};
use serde_json::json;

fn locked() -> World {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "a", "type": "function", "config": {"name": "f"}, "concurrency_key": "${inputs.k}",
         "retry": {"max_attempts": 2, "initial_s": 5, "jitter": 0}}]});
    world.register(&definition.to_string());
    world
}

fn holders(world: &World) -> Vec<RunId> {
    world.jobs.values().map(|job| job.run_id).collect()
}

#[test]
fn one_at_a_time_in_the_order_of_arrival() {
    let mut world = locked();
    let runs: Vec<RunId> = (0..4).map(|n| world.start("w", n, "{\"k\": \"x\"}")).collect();
    let free = world.start("w", 9, "{\"k\": \"y\"}");
    assert_eq!(holders(&world), [runs[0], free], "another key is not in the way");
    assert_eq!(world.state(&runs[1]), RunState::Waiting);
    world.crash(&mut Chance(3));
    for (n, run) in runs.iter().enumerate() {
        let job = world.jobs.values().find(|job| job.run_id == *run).unwrap().clone();
        world.answer(&job, apex_machine::command::Outcome::Ok(b"1".to_vec()));
        assert_eq!(world.state(run), RunState::Completed);
        let names = world.names(run);
        let took = if n == 0 { 1 } else { 2 };
        assert_eq!(names.iter().filter(|name| **name == "LockAcquired").count(), took, "{names:?}");
        assert!(names.contains(&"LockReleased"));
    }
}

#[test]
fn it_is_held_over_retries_and_given_back_by_failure_and_cancel() {
    let mut world = locked();
    let runs: Vec<RunId> = (0..4).map(|n| world.start("w", n, "{\"k\": \"x\"}")).collect();
    world.fail("a", "Broken");
    assert!(world.jobs.is_empty(), "it waits for its retry and holds the key");
    world.cancel(runs[0]);
    assert_eq!(world.state(&runs[0]), RunState::Cancelled);
    assert_eq!(holders(&world), [runs[1]]);
    world.fail("a", "Broken");
    world.tick_next();
    world.fail("a", "Broken");
    assert_eq!(world.state(&runs[1]), RunState::Failed);
    assert_eq!(holders(&world), [runs[2]]);
    world.cancel(runs[3]);
    assert_eq!(world.state(&runs[3]), RunState::Cancelled, "it leaves the line");
    world.ok("a", "1");
    assert_eq!(world.state(&runs[2]), RunState::Completed);
    let next = world.start("w", 9, "{\"k\": \"x\"}");
    assert_eq!(holders(&world), [next]);
}

#[test]
fn a_run_that_is_paused_lets_others_pass_and_keeps_its_place() {
    let mut world = locked();
    let runs: Vec<RunId> = (0..4).map(|n| world.start("w", n, "{\"k\": \"x\"}")).collect();
    let (tenant, by, reason) = ("t".to_owned(), String::new(), String::new());
    let pause = PauseRun { tenant: tenant.clone(), run_id: runs[1], reason, by: by.clone() };
    world.ask(Command::PauseRun(pause));
    world.ok("a", "1");
    assert_eq!(holders(&world), [runs[2]]);
    world.ask(Command::ResumeRun(ResumeRun { tenant, run_id: runs[1], by }));
    world.ok("a", "1");
    assert_eq!(holders(&world), [runs[1]], "before the one that came after it");
}

#[test]
fn null_is_no_key_and_a_long_line_is_refused() {
    let mut world = locked();
    for n in 0..3 {
        world.start("w", n, "{\"k\": null}");
    }
    assert_eq!(world.jobs.len(), 3);
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.lock_waiters_max = 1;
    let mut world = World::new(config);
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "a", "type": "function", "config": {"name": "f"}, "concurrency_key": "x"}]});
    world.register(&definition.to_string());
    let runs: Vec<RunId> = (0..3).map(|n| world.start("w", n, "{}")).collect();
    assert_eq!(world.state(&runs[2]), RunState::Failed);
    let error = String::from_utf8(world.view(&runs[2]).error.unwrap()).unwrap();
    assert!(error.contains("lock_waiters_max"), "{error}");
}

#[test]
fn items_of_a_map_share_a_key_and_give_it_back_when_they_are_given_up() {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let definition = json!({"name": "w", "version": "1", "nodes": [{"id": "m", "type": "map", "config": {
        "over": [1, 2, 3], "body": {"nodes": [
            {"id": "a", "type": "function", "config": {"name": "f"}, "concurrency_key": "x",
             "retry": {"max_attempts": 2, "initial_s": 5, "jitter": 0}},
            {"id": "b", "type": "function", "config": {"name": "f"}}]}}}]});
    world.register(&definition.to_string());
    let run = world.start("w", 1, "{}");
    let keyed = |world: &World| world.jobs.values().filter(|job| job.node.ends_with("a")).count();
    assert_eq!((keyed(&world), world.jobs.len()), (1, 4));
    world.fail("m[0].a", "Broken");
    world.fail("m[0].b", "Fatal");
    assert_eq!(world.state(&run), RunState::Failed);
    let next = world.start("w", 2, "{}");
    assert_eq!(keyed(&world), 1, "the key is free again for {next}");
}

#[test]
fn a_fast_run_that_gets_its_key_right_after_a_crash_goes_on() {
    let mut config = Config { partitions: 4, fidelity: Fidelity::Fast, ..Config::default() };
    config.limits.events_per_turn_max = 1;
    let mut world = World::new(config);
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "a", "type": "function", "config": {"name": "f"}, "concurrency_key": "x"},
        {"id": "b", "type": "function", "config": {"name": "f"}}]});
    world.register(&definition.to_string());
    let runs: Vec<RunId> = (0..2).map(|n| world.start("w", n, "{}")).collect();
    let held = world.jobs.values().find(|job| job.run_id == runs[0] && &*job.node == "a").unwrap();
    let result = JobResult { job: held.id, attempt: 1, outcome: Outcome::Ok(b"1".to_vec()) };
    world.turn(vec![(0, Command::JobResult(result))]);
    while world.seen.last().unwrap().name != "LockReleased" {
        world.turn(Vec::new());
    }
    world.sync(u64::MAX);
    world.crash(&mut Chance(1));
    world.settle(Vec::new());
    assert!(world.jobs.values().any(|job| job.run_id == runs[1] && &*job.node == "a"), "it has the key");
}

#[test]
fn what_a_join_takes_back_while_it_stands_in_line_does_not_count() {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "first", "type": "function", "config": {"name": "f"}},
        {"id": "rest", "type": "function", "config": {"name": "g"}, "concurrency_key": "a"},
        {"id": "j", "type": "join", "join": "any", "cancel_rest": true, "concurrency_key": "a"}],
        "edges": [{"from": "first", "to": "rest"}, {"from": "first", "to": "j"},
                  {"from": "rest", "to": "j", "on": "error"}]});
    world.register(&definition.to_string());
    let run = world.start("w", 1, "{}");
    world.ok("first", "1");
    assert_eq!(world.state(&run), RunState::Completed, "{:?}", world.names(&run));
    let events = world.events(&run);
    let ended = events.iter().rfind(|event| event.name == "ToolResultReceived").unwrap();
    assert_eq!((ended.node(), &ended.payload["output"]), ("j", &json!({"live": 1})));
}
