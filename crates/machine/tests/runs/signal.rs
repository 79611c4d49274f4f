//! Signals: waited for, kept, chosen, sent, published.

use crate::world::{Chance, World};
use crate::{last, world};
use apex_machine::command::{Command, PublishSignal, SignalRun};
use apex_machine::{Config, Fidelity, Refusal, Reply, RunId, RunState, history};
use serde_json::{Value, json};

fn signal(world: &mut World, run_id: RunId, name: &str, payload: &str, key: &str) -> Reply {
    world.ask(Command::SignalRun(SignalRun {
        tenant: "t".into(),
        run_id,
        name: name.into(),
        payload: payload.as_bytes().to_vec(),
        idempotency_key: key.into(),
        by: "me".into(),
    }))
}

fn refused(reply: Reply) -> Refusal {
    reply.outcome.unwrap_err()
}

fn publish(world: &mut World, name: &str, payload: &str, key: &str) -> u64 {
    let reply = world.ask(Command::PublishSignal(PublishSignal {
        tenant: "t".into(),
        name: name.into(),
        payload: payload.as_bytes().to_vec(),
        idempotency_key: key.into(),
        by: String::new(),
    }));
    let details: Value = serde_json::from_slice(&reply.outcome.unwrap().details).unwrap();
    details["runs"].as_u64().unwrap()
}

fn waits(config: Value) -> Value {
    json!({"id": "s", "type": "signal", "config": config})
}

fn output(world: &World, run: &RunId) -> Value {
    world.events(run).last().unwrap().payload["output"].clone()
}

/// Its history is decided again as it was: who takes which signal, too.
fn check_history(world: &World, run: &RunId) {
    assert!(history::check(&world.history(run)).unwrap().decided > 0, "{:?}", world.names(run));
}

#[test]
fn a_signal_decides_who_waits_for_it() {
    let mut world = world(&json!([waits(json!({"name": "go-${inputs.x}"}))]), &json!([]));
    let run = world.start("w", 1, "{\"x\": 7}");
    assert_eq!(world.state(&run), RunState::Waiting);
    assert_eq!(world.machine.next_due(), None);
    let other = signal(&mut world, run, "go-8", "1", "");
    assert_eq!(other.outcome.unwrap().state, Some(RunState::Waiting), "kept: nobody waits for it");
    assert_eq!(last(&world, &run, "SignalReceived")["by"], "me");
    signal(&mut world, run, "go-7", "{\"n\": 1}", "");
    assert_eq!(last(&world, &run, "SignalReceived")["by"], "me");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(output(&world, &run), json!({"s": {"payload": {"n": 1}, "timed_out": false}}));
    assert_eq!(refused(signal(&mut world, run, "go-7", "1", "")).code, "RUN_ENDED");
    check_history(&world, &run);
}

#[test]
fn a_signal_that_comes_first_is_kept_and_the_oldest_that_fits_is_taken() {
    let nodes = json!([
        {"id": "a", "type": "function", "config": {"name": "f"}},
        waits(json!({"name": "go", "match": "signal.payload.n > inputs.x"}))
    ]);
    let mut world = world(&nodes, &json!([{"from": "a", "to": "s"}]));
    let run = world.start("w", 1, "{\"x\": 1}");
    for payload in ["{\"n\": 1}", "\"no member\"", "{\"n\": 2}", "{\"n\": 3}"] {
        signal(&mut world, run, "go", payload, "");
    }
    world.crash(&mut Chance(1));
    world.ok("a", "null");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(output(&world, &run)["s"]["payload"], json!({"n": 2}));
    check_history(&world, &run);
}

#[test]
fn a_key_is_taken_once() {
    let mut world = world(&json!([waits(json!({"name": "go"}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    let first = signal(&mut world, run, "later", "1", "k").outcome.unwrap();
    let again = signal(&mut world, run, "go", "1", "k").outcome.unwrap();
    assert!(!first.existing && again.existing);
    assert_eq!(first.offset, again.offset);
    assert_eq!(world.state(&run), RunState::Waiting);
}

#[test]
fn time_ends_a_wait_as_it_was_told() {
    let late = |on_timeout| json!([waits(json!({"name": "go", "timeout_s": 9, "on_timeout": on_timeout}))]);
    let mut first = world(&late("continue"), &json!([]));
    let run = first.start("w", 1, "{}");
    first.tick_next();
    assert_eq!(output(&first, &run), json!({"s": {"payload": null, "timed_out": true}}));
    check_history(&first, &run);
    let mut second = world(&late("fail"), &json!([]));
    let run = second.start("w", 1, "{}");
    second.tick_next();
    assert_eq!(second.state(&run), RunState::Failed);
    let error: Value = serde_json::from_slice(&second.view(&run).error.unwrap()).unwrap();
    assert_eq!(error["type"], "SignalTimeout");
    check_history(&second, &run);
}

#[test]
fn a_run_signals_another() {
    let nodes =
        json!([waits(json!({"name": "ask", "send": {"run_id": "${inputs.to}", "payload": {"n": "${inputs.n}"}}}))]);
    let mut world = world(&nodes, &json!([]));
    let receiver = json!({"name": "r", "version": "1", "nodes": [waits(json!({"name": "ask"}))]});
    world.register(&receiver.to_string().replace("\"s\"", "\"q\""));
    let to = world.start("r", 2, "{}");
    let from = world.start("w", 3, &format!("{{\"to\": \"{to}\", \"n\": 5}}"));
    assert_eq!((world.state(&from), world.state(&to)), (RunState::Completed, RunState::Completed));
    assert_eq!(output(&world, &to)["q"]["payload"], json!({"n": 5}));
    let late = world.start("w", 4, &format!("{{\"to\": \"{to}\", \"n\": 5}}"));
    assert_eq!(world.state(&late), RunState::Failed);
    let error: Value = serde_json::from_slice(&world.view(&late).error.unwrap()).unwrap();
    assert_eq!(error["type"], "SignalRefused");
    [to, from, late].iter().for_each(|run| check_history(&world, run));
}

#[test]
fn a_sender_that_a_crash_keeps_from_hearing_is_told_that_it_was_heard() {
    // Whichever of the two runs has the lower id.
    for (to, from, fidelity) in [(2, 3, Fidelity::Full), (5, 4, Fidelity::Full), (2, 3, Fidelity::Fast)] {
        let mut world = World::new(Config { partitions: 4, fidelity, ..Config::default() });
        let send = json!({"run_id": "${inputs.to}", "payload": 1});
        for (name, config) in [("w", json!({"name": "ask", "send": send})), ("r", json!({"name": "ask"}))] {
            world.register(&json!({"name": name, "version": "1", "nodes": [waits(config)]}).to_string());
        }
        let to = world.start("r", to, "{}");
        let from = world.start("w", from, &format!("{{\"to\": \"{to}\"}}"));
        let heard = world.seen.iter().find(|seen| seen.name == "SignalReceived").unwrap().position as usize;
        assert!(world.log.len() > heard + 1, "the sender says what came of it");
        world.durable = heard as u64 + 1;
        world.log.truncate(heard + 1);
        world.seen.retain(|seen| seen.position <= heard as u64);
        world.crash(&mut Chance(1));
        world.settle(Vec::new());
        assert_eq!((world.state(&from), world.state(&to)), (RunState::Completed, RunState::Completed));
        assert_eq!(world.names(&to).iter().filter(|name| **name == "SignalReceived").count(), 1);
    }
}

#[test]
fn an_event_reaches_every_run_that_waits_and_no_other() {
    let mut world = world(&json!([waits(json!({"name": "tick", "match": "signal.payload >= inputs.x"}))]), &json!([]));
    let runs: Vec<RunId> = (0..6).map(|n| world.start("w", n, &format!("{{\"x\": {n}}}"))).collect();
    assert_eq!(publish(&mut world, "tick", "2", "once"), 3);
    assert_eq!(publish(&mut world, "other", "2", ""), 0);
    let ended = runs.iter().filter(|run| world.state(run) == RunState::Completed).count();
    assert_eq!(ended, 3);
    assert_eq!(publish(&mut world, "tick", "9", ""), 3);
    assert!(runs.iter().all(|run| world.state(run) == RunState::Completed));
    runs.iter().for_each(|run| check_history(&world, run));
}

#[test]
fn what_a_run_keeps_is_bounded() {
    let mut config = apex_machine::Config { partitions: 4, ..Default::default() };
    config.limits.signals_buffered_max = 2;
    config.limits.signal_keys_max = 1;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [waits(json!({"name": "go"}))]}).to_string());
    let run = world.start("w", 1, "{}");
    assert!(signal(&mut world, run, "a", "1", "k1").outcome.is_ok());
    assert!(refused(signal(&mut world, run, "a", "1", "k2")).message.contains("signal_keys_max"));
    assert!(signal(&mut world, run, "a", "1", "").outcome.is_ok());
    assert!(refused(signal(&mut world, run, "a", "1", "")).message.contains("signals_buffered_max"));
    assert_eq!(refused(signal(&mut world, run, "go", "{\"a\":1,\"a\":2}", "")).code, "VALUE_INVALID");
    assert_eq!(refused(signal(&mut world, run, "", "1", "")).code, "VALUE_INVALID");
}

#[test]
fn an_event_with_a_key_passes_by_a_run_that_has_as_many_as_it_keeps() {
    let mut config = apex_machine::Config { partitions: 4, ..Default::default() };
    config.limits.signal_keys_max = 1;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [waits(json!({"name": "go"}))]}).to_string());
    let run = world.start("w", 1, "{}");
    signal(&mut world, run, "later", "1", "k1").outcome.unwrap();
    assert_eq!(publish(&mut world, "go", "1", "k2"), 0);
    assert_eq!(world.state(&run), RunState::Waiting);
    assert_eq!(publish(&mut world, "go", "1", ""), 1);
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_run_that_fails_by_its_own_signal_records_nothing_more_of_the_sender() {
    let nodes = json!([
        {"id": "first", "type": "function", "config": {"name": "f"}},
        waits(json!({"name": "go"})),
        {"id": "send", "type": "signal", "config": {"name": "go", "send": {"run_id": "${run.id}", "payload": "no"}}},
        {"id": "next", "type": "join"}]);
    let edges = json!([
        {"from": "first", "to": "send"},
        {"from": "s", "to": "next", "when": "nodes.s.output.payload > 1"}]);
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{}");
    world.ok("first", "1");
    let names: Vec<&str> = world.events(&run).iter().map(|seen| seen.name).collect();
    assert_eq!(names[names.len() - 2..], ["SignalReceived", "WorkflowFailed"]);
    check_history(&world, &run);
}

#[test]
fn what_a_sender_needs_no_more_is_taken_back_when_it_is_decided_anew() {
    let nodes = json!([
        {"id": "slow", "type": "function", "config": {"name": "f"}},
        {"id": "fast", "type": "join"},
        {"id": "send", "type": "signal", "join": "any", "cancel_rest": true,
            "config": {"name": "go", "send": {"run_id": "${run.id}", "payload": 1}}}]);
    let edges = json!([{"from": "slow", "to": "send"}, {"from": "fast", "to": "send"}]);
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{}");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(last(&world, &run, "ToolResultReceived")["status"], "cancelled");
    check_history(&world, &run);
}

#[test]
fn a_sender_with_a_key_does_not_reach_what_it_takes_back() {
    let body = json!({"nodes": [waits(json!({"name": "go"}))], "edges": []});
    let nodes = json!([
        {"id": "each", "type": "map", "config": {"over": [1], "body": body}},
        {"id": "fast", "type": "function", "config": {"name": "f"}},
        {"id": "send", "type": "signal", "join": "any", "cancel_rest": true, "concurrency_key": "k",
            "config": {"name": "go", "send": {"run_id": "${run.id}", "payload": 1}}}]);
    let edges = json!([{"from": "each", "to": "send"}, {"from": "fast", "to": "send"}]);
    let mut world = world(&nodes, &edges);
    let run = world.start("w", 1, "{}");
    world.ok("fast", "null");
    assert_eq!(last(&world, &run, "SignalReceived")["node"], Value::Null, "kept: nobody that is wanted waits for it");
    assert_eq!(last(&world, &run, "ScopeClosed")["status"], "cancelled");
    assert_eq!(world.state(&run), RunState::Completed);
}
