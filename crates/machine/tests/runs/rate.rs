//! The rate of a tool, and the priority of a job.

use crate::world::{Chance, SECOND, World};
use apex_machine::Config;
use apex_machine::command::{Command, Heartbeat, PauseRun, ResumeRun};
use serde_json::json;

fn limited(more: &str) -> World {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "a", "type": "function", "config": {"name": "f"}, "rate_limit": {"count": 2, "per_s": 10, "burst": 3},
         "retry": {"max_attempts": 2, "initial_s": 0, "jitter": 0}, "priority": "low"}]});
    world.register(&definition.to_string().replace("\"f\"", more));
    world
}

#[test]
fn a_burst_at_once_then_one_at_a_time() {
    let mut world = limited("\"f\"");
    for n in 0..6 {
        world.start("w", n, "{}");
    }
    assert_eq!(world.jobs.len(), 3, "the burst");
    let start = world.now;
    world.crash(&mut Chance(5));
    for n in 1..=3 {
        assert_eq!(world.machine.next_due(), Some(start + n * 5 * SECOND));
        world.tick_next();
        assert_eq!(world.jobs.len() as i64, 3 + n);
    }
    world.tick_at(start + 100 * SECOND);
    for n in 10..13 {
        world.start("w", n, "{}");
    }
    assert_eq!(world.jobs.len(), 9, "after a rest there is a burst again");
    assert!(world.jobs.values().all(|job| job.priority == apex_ir::ir::Priority::Low));
}

#[test]
fn a_retry_counts_and_a_pause_asks_again() {
    let mut world = limited("\"f\"");
    let run_id = world.start("w", 1, "{}");
    for n in 2..4 {
        world.start("w", n, "{}");
    }
    let job = world.jobs.values().find(|job| job.run_id == run_id).unwrap().clone();
    world.answer(&job, crate::world::failed("Broken"));
    world.tick_next();
    assert_eq!(world.jobs.len(), 2, "the second attempt waits for its turn");
    let (tenant, by, reason) = ("t".to_owned(), String::new(), String::new());
    world.ask(Command::PauseRun(PauseRun { tenant: tenant.clone(), run_id, reason, by: by.clone() }));
    world.tick_next();
    assert_eq!((world.jobs.len(), world.machine.next_due()), (2, None));
    world.tick_at(world.now + 60 * SECOND);
    world.ask(Command::ResumeRun(ResumeRun { tenant, run_id, by }));
    let job = world.jobs.values().find(|job| job.run_id == run_id).unwrap();
    assert_eq!(job.attempt, 2);
}

#[test]
fn what_is_known_of_the_attempt_before_outlasts_the_wait_for_a_turn() {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let definition = json!({"name": "w", "version": "1", "nodes": [
        {"id": "a", "type": "function", "config": {"name": "f"}, "rate_limit": {"count": 1, "per_s": 10},
         "retry": {"max_attempts": 2, "initial_s": 0, "jitter": 0}}]});
    world.register(&definition.to_string());
    world.start("w", 1, "{}");
    let job = world.job("a");
    world.settle(vec![(0, Command::Heartbeat(Heartbeat { job: job.id, attempt: 1, progress: b"7".to_vec() }))]);
    world.fail("a", "Broken");
    world.tick_next();
    world.tick_next();
    let job = world.job("a");
    assert_eq!((job.attempt, &*job.progress), (2, &b"7"[..]));
}

#[test]
fn each_tool_has_a_rate_of_its_own() {
    let mut world = World::new(Config { partitions: 4, ..Config::default() });
    let node = |id: &str, tool: &str| json!({"id": id, "type": "function", "config": {"name": tool}, "rate_limit": {"count": 1, "per_s": 10}});
    let nodes = [node("a", "f"), node("b", "g"), node("c", "f")];
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes}).to_string());
    world.start("w", 1, "{}");
    let mut called: Vec<&str> = world.jobs.values().map(|job| &*job.name).collect();
    called.sort_unstable();
    assert_eq!(called, ["f", "g"], "the second call of f waits, the first of g does not");
}
