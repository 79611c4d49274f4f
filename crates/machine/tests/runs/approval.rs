use crate::world::SECOND;
use crate::{function, last, world};
use apex_machine::error::code;
use apex_machine::{RunState, history};
use serde_json::{Value, json};

fn asking(on_timeout: &str) -> (Value, Value) {
    let nodes = json!([{"id": "gate", "type": "approval",
        "config": {"prompt": "Ship ${inputs.what}?", "timeout_s": 60, "on_timeout": on_timeout}},
        function("ship", json!({})), function("stay", json!({}))]);
    let edges = json!([{"from": "gate", "to": "ship", "when": "nodes.gate.output.approved"},
        {"from": "gate", "to": "stay", "when": "!nodes.gate.output.approved"}]);
    (nodes, edges)
}

#[test]
fn a_decision_routes_and_the_same_one_again_is_the_same() {
    let (nodes, edges) = asking("reject");
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{\"what\":\"it\"}");
    let page = world.machine.approvals("t", None, 10, "");
    let view = &page.items[0];
    assert_eq!(
        (view.prompt.as_str(), view.node.as_str(), view.due_ns),
        ("Ship it?", "gate", Some(world.now + 60 * SECOND))
    );
    let ticket = view.ticket.clone();
    assert_eq!(ticket, format!("{run}~gate"));
    assert!(world.machine.approvals("u", None, 10, "").items.is_empty());
    let answer = world.resolve(&ticket, true).outcome.unwrap();
    let resolved = world.events(&run).into_iter().find(|event| event.name == "ApprovalResolved").unwrap().seq;
    assert_eq!((answer.existing, answer.offset), (false, resolved));
    assert_eq!(
        last(&world, &run, "ApprovalResolved")["output"],
        json!({"approved": true, "decision": "approve", "reason": "so", "by": "me", "edits": {"n": 1}, "timed_out": false})
    );
    assert_eq!(&*world.job("ship").node, "ship");
    let again = world.resolve(&ticket, true).outcome.unwrap();
    assert_eq!((again.existing, again.offset), (true, world.view(&run).offset));
    assert_eq!(world.resolve(&ticket, false).outcome.unwrap_err().code, code::TICKET_RESOLVED);
    world.ok("ship", "1");
    assert_eq!(world.resolve(&ticket, true).outcome.unwrap_err().code, code::TICKET_RESOLVED);
    for unknown in [format!("{run}~ship"), format!("{run}~nope"), "x".into(), format!("{run}~gate[0].x")] {
        let refused = world.resolve(&unknown, true).outcome.unwrap_err();
        assert!([code::TICKET_NOT_FOUND, code::TICKET_RESOLVED].contains(&refused.code));
    }
}

#[test]
fn the_end_of_its_time_decides() {
    for (on_timeout, next) in [("approve", "ship"), ("reject", "stay")] {
        let (nodes, edges) = asking(on_timeout);
        let mut world = world(&nodes, &edges);
        let run = world.start("w", 1, "{\"what\":\"it\"}");
        world.tick_next();
        assert_eq!(last(&world, &run, "ApprovalResolved")["timed_out"], true);
        assert_eq!(&*world.job(next).node, next);
        let refused = world.resolve(&format!("{run}~gate"), on_timeout == "approve").outcome.unwrap_err();
        assert_eq!(refused.code, code::TICKET_RESOLVED);
    }
    let (nodes, edges) = asking("fail");
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{\"what\":\"it\"}");
    world.tick_next();
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "ApprovalTimeout");
    assert_eq!(world.state(&run), RunState::Failed);
}

#[test]
fn a_ticket_of_any_depth_is_just_unknown() {
    let (nodes, edges) = asking("reject");
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{\"what\":\"it\"}");
    for path in ["gate[0].".repeat(500_000), "[0].".repeat(1_000_000), "]".into(), "].".into(), "gate[1]x].y".into()] {
        let refused = world.resolve(&format!("{run}~{path}x"), true).outcome.unwrap_err();
        assert_eq!(refused.code, code::TICKET_NOT_FOUND);
        assert!(refused.message.len() < 1_000, "a refusal does not repeat what it was sent");
    }
}

#[test]
fn nothing_of_a_run_that_is_set_aside_is_acknowledged_or_due() {
    let (nodes, edges) = asking("reject");
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{\"what\":\"it\"}");
    world.machine.quarantine(&run);
    let records = world.log.len();
    assert_eq!(world.resolve(&format!("{run}~gate"), true).outcome.unwrap_err().code, code::INTERNAL);
    assert_eq!(world.cancel(run).outcome.unwrap_err().code, code::INTERNAL);
    assert_eq!(world.machine.next_due(), None, "or its clock would ring for ever");
    world.tick_at(world.now + 100 * SECOND);
    assert_eq!(world.log.len(), records);
}

#[test]
fn after_a_crash_a_function_that_took_two_attempts_is_not_taken_for_a_decision() {
    let retry = json!({"retry": {"max_attempts": 2, "initial_s": 1}});
    let mut config = apex_machine::Config { partitions: 4, ..apex_machine::Config::default() };
    config.limits.events_per_turn_max = 1;
    let mut world = crate::world::World::new(config);
    let nodes = json!([function("a", retry), function("b", json!({}))]);
    world.register(&json!({"name": "w", "version": "1", "edges": [], "nodes": nodes}).to_string());
    let run = world.start("w", 1, "{}");
    world.fail("a", "Odd");
    world.tick_next();
    world.ok("a", "1");
    world.crash(&mut crate::world::Chance(1));
    let refused = world.resolve(&format!("{run}~a"), false).outcome.unwrap_err();
    assert_eq!(refused.code, code::TICKET_NOT_FOUND);
}

#[test]
fn others_are_asked_after_a_while_and_the_time_goes_on() {
    let gate = json!({"id": "gate", "type": "approval", "config": {"prompt": "Ship?", "timeout_s": 60,
        "escalate_to": ["ops", "boss"], "escalate_after_s": 20}});
    let mut world = world(&json!([gate]), &json!([]));
    let (run, other) = (world.start("w", 1, "{}"), world.start("w", 2, "{}"));
    let tickets = |world: &crate::World, run| world.machine.approvals("t", run, 10, "").items;
    assert!(tickets(&world, Some(&run))[0].escalated_to.is_empty());
    world.resolve(&format!("{other}~gate"), true);
    world.crash(&mut crate::world::Chance(9));
    world.tick_next();
    assert_eq!(tickets(&world, Some(&run))[0].escalated_to, ["ops", "boss"]);
    assert_eq!((tickets(&world, None).len(), tickets(&world, Some(&other)).len()), (1, 0));
    world.tick_next();
    assert_eq!(world.names(&run)[1..4], ["ApprovalRequested", "ApprovalEscalated", "ApprovalResolved"]);
    assert!(!world.names(&other).contains(&"ApprovalEscalated"));
    assert!(history::check(&world.history(&run)).unwrap().decided > 0);
}
