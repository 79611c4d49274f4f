use crate::function;
use crate::world::World;
use apex_machine::command::Command;
use apex_machine::error::code;
use apex_machine::{Config, RunState};
use serde_json::json;

fn limited(set: &[(&str, i64)], nodes: serde_json::Value) -> World {
    let mut config = Config { partitions: 4, ..Config::default() };
    for (name, value) in set {
        assert!(config.limits.set(name, *value), "{name}");
    }
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "edges": [], "nodes": nodes}).to_string());
    world
}

#[test]
fn over_a_bound_a_start_is_refused_by_name() {
    let mut world = limited(
        &[("runs_open_max", 1), ("inputs_bytes_max", 20), ("name_bytes_max", 30)],
        json!([function("a", json!({}))]),
    );
    let mut long = world.start_command("w", 1, "", "{}");
    long.correlation = "x".repeat(31);
    let large = world.start_command("w", 1, "", "{\"x\":\"0123456789abcdefghij\"}");
    for command in [long, large] {
        let refused = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap_err();
        assert_eq!(refused.code, code::LIMIT_EXCEEDED);
    }
    world.start("w", 1, "{}");
    let command = world.start_command("w", 2, "", "{}");
    let refused = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (code::LIMIT_EXCEEDED, "over runs_open_max (1)"));
    world.ok("a", "1");
    world.start("w", 3, "{}");
}

#[test]
fn a_fan_out_goes_on_over_many_turns_and_new_commands_are_not_held_up() {
    let map = json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}", "max_concurrency": 1000,
        "body": {"nodes": [function("f", json!({}))], "edges": []}}});
    let mut world = limited(&[("events_per_turn_max", 20), ("events_per_visit_max", 5)], json!([map]));
    world.compares = false;
    world.register(
        &json!({"name": "small", "version": "1", "edges": [], "nodes": [function("a", json!({}))]}).to_string(),
    );
    let list: Vec<u32> = (0..300).collect();
    let big = world.start_command("w", 1, "", &json!({"list": list}).to_string());
    let (count, more) = world.turn(vec![(0, Command::StartRun(Box::new(big)))]);
    assert!(count <= 22 && more);
    let small = world.start_command("small", 2, "", "{}");
    let small_run = small.run_id;
    let (count, more) = world.turn(vec![(0, Command::StartRun(Box::new(small)))]);
    assert!(count <= 22 && more);
    assert_eq!(world.names(&small_run), ["RunStarted", "ToolCallRequested"], "one turn was enough for it");
    world.settle(vec![]);
    assert_eq!(world.jobs.len(), 301);
}

#[test]
fn too_many_items_fail_the_map() {
    let map = json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}",
        "body": {"nodes": [function("f", json!({}))], "edges": []}}});
    let mut world = limited(&[("items_max", 3)], json!([map]));
    let run = world.start("w", 1, "{\"list\":[1,2,3,4]}");
    assert_eq!(crate::last(&world, &run, "WorkflowFailed")["error"]["type"], "LimitExceeded");
}

#[test]
fn ended_runs_leave_the_list_oldest_first() {
    let mut world = limited(&[("runs_ended_max", 2)], json!([function("a", json!({}))]));
    let runs: Vec<_> = (1..5)
        .map(|n| {
            let run = world.start("w", n, "{}");
            world.ok("a", "1");
            run
        })
        .collect();
    assert!(world.machine.run("t", &runs[1]).is_none());
    assert_eq!(world.state(&runs[2]), RunState::Completed);
    assert_eq!(world.machine.counts().runs_ended, 2);
}

#[test]
fn a_run_set_aside_is_not_touched_and_the_others_go_on() {
    let mut world = limited(&[], json!([function("a", json!({}))]));
    let (one, two) = (world.start("w", 1, "{}"), world.start("w", 2, "{}"));
    world.machine.quarantine(&one);
    assert!(world.view(&one).quarantined);
    assert_eq!(world.cancel(one).outcome.unwrap_err().code, code::INTERNAL);
    for job in world.jobs.values().cloned().collect::<Vec<_>>() {
        world.answer(&job, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    }
    assert_eq!((world.state(&one), world.state(&two)), (RunState::Running, RunState::Completed));
    assert_eq!(world.machine.counts().runs_quarantined, 1);
}

#[test]
fn a_limit_is_set_by_its_name() {
    let mut limits = apex_machine::Limits::default();
    assert!(limits.set("items_max", 5) && limits.items_max == 5);
    assert!(!limits.set("items_max", 0) && !limits.set("items_max", i64::MAX) && !limits.set("nope", 1));
}
