use crate::world::{Chance, World};
use crate::{function, last, world, world_of};
use apex_machine::command::{Command, Erase};
use apex_machine::view::{LetterFilter, RunFilter};
use apex_machine::{Refusal, RunId, RunState, erasure};
use serde_json::json;
use std::collections::BTreeSet;

fn erase(world: &mut World, tenant: &str, run: Option<RunId>) -> Result<(), Refusal> {
    let command = Erase { tenant: tenant.into(), run_id: run, by: "ann".into() };
    world.ask(Command::Erase(command)).outcome.map(|_| ())
}

fn listed(world: &World) -> Vec<RunId> {
    world.machine.runs("t", &RunFilter::default(), 100, "").items.into_iter().map(|run| run.run_id).collect()
}

#[test]
fn an_ended_run_leaves_with_its_key_and_its_letters_and_others_stay() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let gone = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    let stays = world.start("w", 2, "{}");
    world.ok("a", "1");
    let open = world.start("w", 3, "{}");
    assert_eq!(erase(&mut world, "t", Some(open)).unwrap_err().code, "WRONG_STATE");
    assert_eq!(erase(&mut world, "other", Some(gone)).unwrap_err().code, "RUN_NOT_FOUND");
    erase(&mut world, "t", Some(gone)).unwrap();
    for _ in 0..2 {
        assert!(!listed(&world).contains(&gone));
        assert_eq!(world.state(&stays), RunState::Completed);
        assert!(world.machine.dead_letters("t", &LetterFilter::default(), 10, "").items.is_empty());
        assert_eq!(world.machine.run("t", &gone).map(|run| run.run_id), None);
        world.crash(&mut Chance(1));
    }
    assert_eq!(erase(&mut world, "t", Some(gone)).unwrap_err().code, "RUN_NOT_FOUND");
    world.ok("a", "1");
    assert_eq!(world.state(&open), RunState::Completed);
}

#[test]
fn a_tenant_leaves_with_all_that_it_has_and_may_come_back() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    let refusal = erase(&mut world, "t", None).unwrap_err();
    assert_eq!(refusal.code, "WRONG_STATE");
    assert!(refusal.message.contains("1 runs"), "{}", refusal.message);
    world.fail("a", "Odd");
    erase(&mut world, "t", None).unwrap();
    for _ in 0..2 {
        assert!(listed(&world).is_empty());
        assert_eq!(world.machine.run("t", &run).map(|run| run.run_id), None);
        assert!(world.machine.workflows("t").is_empty());
        world.crash(&mut Chance(1));
    }
    // Nothing is left to be erased; it may be asked for again.
    erase(&mut world, "t", None).unwrap();
    erase(&mut world, "nobody", None).unwrap();
}

#[test]
fn a_run_that_an_open_one_goes_on_from_stays_until_that_has_ended() {
    let mut world =
        world(&json!([function("a", json!({})), function("b", json!({}))]), &json!([{"from": "a", "to": "b"}]));
    let origin = world.start("w", 1, "{}");
    world.ok("a", "1");
    world.ok("b", "1");
    let replay = world.replay_command(&origin, 2, "b", false);
    let replay = world.ask(Command::ReplayRun(Box::new(replay))).outcome.unwrap().run_id.unwrap();
    let refusal = erase(&mut world, "t", Some(origin)).unwrap_err();
    assert_eq!(refusal.code, "WRONG_STATE");
    assert!(refusal.message.contains(&replay.to_string()), "{}", refusal.message);
    world.ok("b", "2");
    assert_eq!(world.state(&replay), RunState::Completed);
    erase(&mut world, "t", Some(origin)).unwrap();
}

/// Which records of the log go, by their place in it.
fn going(world: &World, tenant: &str, runs: Option<&BTreeSet<RunId>>) -> Vec<usize> {
    (0..world.log.len()).filter(|at| erasure::goes(&world.log[*at], tenant, runs)).collect()
}

#[test]
fn the_records_of_the_tenant_go_from_the_log_and_that_it_was_erased_stays() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    let before: Vec<usize> = (0..world.log.len()).collect();
    let of_the_run: Vec<usize> =
        before.iter().copied().filter(|at| world.bodies(&run).contains(&world.log[*at].as_slice())).collect();
    assert!(!of_the_run.is_empty() && of_the_run.len() < before.len(), "there is the registration too");
    erase(&mut world, "t", None).unwrap();
    assert_eq!(going(&world, "t", None), before, "all but the erasure itself");
    assert_eq!(going(&world, "t", Some(&BTreeSet::from([run]))), of_the_run);
    assert!(going(&world, "other", None).is_empty());
    assert!(!erasure::goes(b"no record", "t", None));
}

#[test]
fn a_log_says_whose_child_a_run_is() {
    let composite = json!({"id": "c", "type": "composite", "config": {"workflow": "inner", "version": "1"}});
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": [composite], "edges": []}));
    let inner = json!({"name": "inner", "version": "1", "nodes": [function("f", json!({}))], "edges": []});
    world.register(&inner.to_string());
    let run = world.start("w", 1, "{}");
    let child = RunId::parse(last(&world, &run, "ChildStarted")["child"].as_str().unwrap()).unwrap();
    let families: Vec<(RunId, RunId)> = world.log.iter().filter_map(|body| erasure::child_and_parent(body)).collect();
    assert_eq!(families, [(child, run)]);
}
