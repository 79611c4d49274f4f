//! A log is read again: what does not follow stops the reader, and what one event says is told in full.

use crate::{function, world};
use apex_machine::render::event_json;
use apex_machine::{Config, Machine};
use serde_json::{Value, json};

#[test]
fn a_record_that_does_not_follow_is_refused_by_its_position() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    let first = world.seen.iter().find(|event| event.run_id == run).unwrap().position;
    let before = |position: u64| {
        let mut machine = Machine::new(Config { partitions: 4, ..Config::default() });
        for (at, body) in (0..position).zip(&world.log) {
            machine.apply(at, body).unwrap();
        }
        machine
    };
    let later = &world.log[first as usize + 1];
    for (position, said) in [(first, "sequence 1 where 0"), (first + 7, "was expected")] {
        let error = before(first).apply(position, later).unwrap_err().to_string();
        assert!(error.starts_with(&format!("record {position}: ")) && error.contains(said), "{error}");
    }
}

#[test]
fn an_event_is_told_with_where_it_stands() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    let told: Vec<Value> = world
        .bodies(&run)
        .into_iter()
        .map(|body| serde_json::from_slice(&event_json(body).unwrap()).unwrap())
        .collect();
    for (offset, (event, seen)) in told.iter().zip(world.events(&run)).enumerate() {
        assert_eq!((&event["offset"], &event["run_id"]), (&json!(offset), &json!(run.to_string())));
        assert_eq!((&event["type"], &event["payload"]), (&json!(seen.name), &seen.payload));
        assert_eq!((&event["correlation"], &event["partition"]), (&json!("corr"), &json!(run.partition())));
        assert_eq!((&event["time"], &event["epoch"]), (&json!("1970-01-01T00:00:01.000000000Z"), &json!(0)));
    }
    assert_eq!(told.iter().map(|event| &event["type"]).collect::<Vec<_>>(), ["RunStarted", "ToolCallRequested"]);
}
