use crate::world::{Chance, World};
use crate::{edge, function, world};
use apex_machine::RunState;
use apex_machine::command::{Command, DropDeadLetter};
use apex_machine::view::LetterFilter;
use serde_json::json;

fn letters(world: &World) -> Vec<(String, String)> {
    let page = world.machine.dead_letters("t", &LetterFilter::default(), 100, "");
    page.items.into_iter().map(|letter| (letter.id, letter.error_type)).collect()
}

fn drop(world: &mut World, tenant: &str, id: &str) -> Result<apex_machine::Answer, apex_machine::Refusal> {
    let (tenant, id, by, retried_as) = (tenant.into(), id.into(), "ann".into(), String::new());
    world.ask(Command::DropDeadLetter(DropDeadLetter { tenant, id, by, retried_as })).outcome
}

#[test]
fn what_fails_for_good_is_listed_until_it_is_dropped() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    assert_eq!(world.state(&run), RunState::Failed);
    let id = format!("{run}~a");
    assert_eq!(letters(&world), [(id.clone(), "Odd".to_owned())]);
    let names = world.names(&run);
    assert_eq!(names[names.len() - 3..], ["ToolResultReceived", "DeadLettered", "WorkflowFailed"]);
    world.crash(&mut Chance(1));
    assert_eq!(letters(&world).len(), 1);
    assert_eq!(drop(&mut world, "other", &id).unwrap_err().code, "DEAD_LETTER_NOT_FOUND");
    drop(&mut world, "t", &id).unwrap();
    assert!(letters(&world).is_empty());
    assert_eq!(drop(&mut world, "t", &id).unwrap_err().code, "DEAD_LETTER_NOT_FOUND");
}

#[test]
fn what_is_handled_cancelled_or_a_single_read_is_not() {
    let reads = json!({"effect": "read", "on_error": "continue"});
    let mut world = world(
        &json!([
            function("read", reads),
            function("handled", json!({})),
            function("way", json!({})),
            function("stopped", json!({}))
        ]),
        &json!([{"from": "handled", "to": "way", "on": "error"}]),
    );
    let run = world.start("w", 1, "{}");
    world.fail("read", "Odd");
    world.fail("handled", "Odd");
    world.ok("way", "1");
    world.cancel(run);
    let job = world.job("stopped");
    world.answer(&job, apex_machine::command::Outcome::Cancelled { message: String::new() });
    assert_eq!(world.state(&run), RunState::Cancelled);
    assert!(letters(&world).is_empty(), "{:?}", letters(&world));
}

#[test]
fn a_page_goes_on_where_the_one_before_ended_and_filters() {
    let mut world =
        world(&json!([function("a", json!({})), function("b", json!({"on_error": "continue"}))]), &json!([]));
    for n in 0..5 {
        world.start("w", n, "{}");
        world.fail("b", "Odd");
        world.fail("a", "Odd");
    }
    let all = letters(&world);
    assert_eq!(all.len(), 10);
    let (mut page, mut found) = (String::new(), Vec::new());
    loop {
        let next = world.machine.dead_letters("t", &LetterFilter::default(), 3, &page);
        found.extend(next.items.into_iter().map(|letter| (letter.id, letter.error_type)));
        if next.next.is_empty() {
            break;
        }
        page = next.next;
    }
    assert_eq!(found, all);
    let filter = LetterFilter { name: "b".into(), ..LetterFilter::default() };
    assert_eq!(world.machine.dead_letters("t", &filter, 100, "").items.len(), 5);
    assert!(world.machine.dead_letters("other", &filter, 100, "").items.is_empty());
}

#[test]
fn the_oldest_leave_where_there_are_too_many() {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.dead_letters_max = 2;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))]}).to_string());
    let runs: Vec<_> = (0..3)
        .map(|n| {
            let run = world.start("w", n, "{}");
            world.fail("a", "Odd");
            run
        })
        .collect();
    let ids: Vec<String> = letters(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [format!("{}~a", runs[2]), format!("{}~a", runs[1])]);
    assert_eq!(world.machine.counts().dead_letters_pushed_out, 1);
}

#[test]
fn one_of_an_item_is_written_before_the_item_closes() {
    let body = json!({"nodes": [function("b", json!({}))]});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body, "on_item_error": "skip"}});
    let mut world = world(&json!([map, function("z", json!({}))]), &json!([edge("m", "z")]));
    let run = world.start("w", 1, "{}");
    world.fail("m[1].b", "Odd");
    world.ok("m[0].b", "1");
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(letters(&world), [(format!("{run}~m[1].b"), "Odd".to_owned())]);
}

#[test]
fn those_of_two_nodes_of_an_item_that_fail_at_once_are_both_written() {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.events_per_turn_max = 1;
    config.limits.events_per_visit_max = 2;
    let mut world = World::new(config);
    let body = json!({"nodes": [function("b", json!({})), function("c", json!({"on_error": "continue"}))]});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1], "body": body, "on_item_error": "skip"}});
    world.register(&json!({"name": "w", "version": "1", "nodes": [map]}).to_string());
    let run = world.start("w", 1, "{}");
    let results = ["m[0].c", "m[0].b"].map(|node| {
        let job = world.job(node);
        let outcome = crate::world::failed("Odd");
        (0, Command::JobResult(apex_machine::command::JobResult { job: job.id, attempt: 1, outcome }))
    });
    world.settle(results.into());
    assert_eq!(world.state(&run), RunState::Completed);
    let ids: Vec<String> = letters(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [format!("{run}~m[0].b"), format!("{run}~m[0].c")]);
}

#[test]
fn dead_letters_that_come_together_are_all_written_before_the_run_rests() {
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.events_per_turn_max = 1;
    let mut world = crate::world::World::new(config);
    let body = json!({"nodes": [function("f", json!({}))], "edges": []});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2, 3], "body": body, "on_item_error": "skip"}});
    let nodes = json!([map, function("z", json!({})), function("w", json!({}))]);
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": []}).to_string());
    let run = world.start("w", 1, "{}");
    let results = ["m[0].f", "m[1].f", "m[2].f", "z"].map(|node| {
        let apex_machine::Job { id: job, attempt, .. } = world.job(node);
        let result = apex_machine::command::JobResult { job, attempt, outcome: crate::world::failed("Odd") };
        (0, apex_machine::command::Command::JobResult(result))
    });
    world.settle(results.into());
    let letters = world.events(&run).iter().filter(|event| event.name == "DeadLettered").count();
    assert_eq!(letters, 4, "{:?}", world.names(&run));
}
