use crate::world::{Chance, World};
use crate::{function, world};
use apex_machine::command::{Command, Erase};
use apex_machine::view::{LetterFilter, RunFilter};
use apex_machine::{Refusal, RunId, RunState};
use serde_json::json;

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
