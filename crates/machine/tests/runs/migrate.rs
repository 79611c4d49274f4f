//! Migrations: a run goes on under another version, and what it has done stands.

use crate::world::{Chance, SECOND, World};
use crate::{edge, function, last, world_of};
use apex_machine::command::{Command, JobResult, MigrateRun, Outcome, PauseRun, ResumeRun, Selector};
use apex_machine::{Config, Reply, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn migrate(world: &mut World, run_id: RunId, version: &str) -> Reply {
    let selector = Selector::Version(version.into());
    world.ask(Command::MigrateRun(MigrateRun { tenant: "t".into(), run_id, selector, by: "me".into() }))
}

/// The places that a refusal names.
fn pointers(reply: Reply) -> Vec<String> {
    let refusal = reply.outcome.unwrap_err();
    assert_eq!(refusal.code, "VERSION_INCOMPATIBLE", "{}", refusal.message);
    let details: Value = serde_json::from_slice(&refusal.details).unwrap();
    let errors = details["errors"].as_array().unwrap().iter();
    let mut pointers: Vec<_> = errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    pointers.sort_unstable();
    pointers
}

fn definition(version: &str, nodes: &[Value], edges: &[Value]) -> Value {
    json!({"name": "w", "version": version, "nodes": nodes, "edges": edges})
}

fn plain(id: &str) -> Value {
    function(id, json!({}))
}

/// A run of `old` and, registered too, `new`.
fn begun(old: &Value, new: &Value) -> (World, RunId) {
    let mut world = world_of(old.clone());
    world.register(&new.to_string());
    let run = world.start("w", 1, "{}");
    (world, run)
}

/// A bit of everything that waits, holds other nodes, or is taken back.
fn rich(version: &str) -> Value {
    let body = json!({"nodes": [plain("x"), plain("y")], "edges": [edge("x", "y")]});
    json!({"name": "w", "version": version, "timeout_s": 10_000, "nodes": [
        function("a", json!({"retry": {"max_attempts": 2, "initial_s": 5}})),
        {"id": "m", "type": "map", "config": {"over": [1, 2, 3], "max_concurrency": 2, "body": body}},
        {"id": "l", "type": "loop", "config": {"while": "iteration < 2", "max_iterations": 3,
            "body": {"nodes": [plain("z")], "edges": []}}},
        {"id": "pause", "type": "timer", "config": {"duration_s": 30}},
        {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}},
        plain("slow"),
        {"id": "first", "type": "join", "join": "any", "cancel_rest": true},
        function("end", json!({"input": {"a": "${nodes.a.output.v}", "items": "${nodes.m.output}"}}))],
        "edges": [edge("a", "m"), edge("a", "l"), edge("a", "slow"), edge("m", "pause"), edge("l", "first"),
            edge("slow", "first"), edge("pause", "ask"), edge("first", "end"),
            {"from": "ask", "to": "end", "when": "nodes.ask.output.approved"}]})
}

/// One thing that the world outside does; `false`: the run has ended.
fn outside(world: &mut World, run: &RunId, failed: &mut bool) -> bool {
    if world.state(run).is_ended() {
        return false;
    }
    if let Some(job) = world.jobs.values().min_by_key(|job| job.node.clone()).cloned() {
        if &*job.node == "a" && !*failed {
            *failed = true;
            world.fail("a", "Broken");
        } else {
            world.answer(&job, Outcome::Ok(format!("{{\"v\":\"{}\"}}", job.node).into_bytes()));
        }
    } else if let Some(view) = world.machine.approvals("t", None, 1, "").items.first() {
        let ticket = view.ticket.clone();
        world.resolve(&ticket, true);
    } else {
        world.tick_next();
    }
    true
}

/// What happened to each node, and how the run ended.
fn story(world: &World, run: &RunId) -> Vec<(String, String, Value)> {
    let told = world.events(run).into_iter().filter(|event| !["RunMigrated", "RunStarted"].contains(&event.name));
    let mut story: Vec<_> = told
        .map(|event| (event.name.to_owned(), event.node().to_owned(), event.payload["output"].clone()))
        .filter(|(name, ..)| name != "NodeRetryScheduled")
        .collect();
    story.sort_by_key(|event| format!("{event:?}"));
    story
}

#[test]
fn at_any_moment_an_identical_graph_gives_the_same_run_also_over_a_crash() {
    let told = |moment: Option<usize>, crash: Option<u64>| {
        let mut config = Config { partitions: 4, ..Config::default() };
        if crash.is_some() {
            config.limits.events_per_turn_max = 1;
        }
        let mut world = World::new(config);
        world.register(&rich("1").to_string());
        world.register(&rich("2").to_string());
        let run = world.start("w", 1, "{}");
        let (mut step, mut failed) = (0, false);
        loop {
            // After a crash nobody answers what was taken back: the run may end a step earlier.
            if moment == Some(step) && !world.state(&run).is_ended() {
                let answer = migrate(&mut world, run, "2").outcome.unwrap();
                let again = migrate(&mut world, run, "2").outcome.unwrap();
                assert!(!answer.existing && again.existing);
                assert_eq!((answer.details.clone(), again.offset), (again.details.clone(), world.view(&run).offset));
                assert_eq!(answer.details, b"{\"version\":\"2\",\"epoch\":1}");
            }
            if let Some(seed) = crash {
                world.crash(&mut Chance(seed + step as u64));
                world.settle(Vec::new());
            }
            if !outside(&mut world, &run, &mut failed) {
                break;
            }
            step += 1;
        }
        assert_eq!(world.state(&run), RunState::Completed);
        let view = world.view(&run);
        let is_migrated = world.names(&run).contains(&"RunMigrated");
        assert_eq!(is_migrated, moment.is_some_and(|moment| moment < step));
        assert_eq!((view.epoch, &*view.version), if is_migrated { (1, "2") } else { (0, "1") });
        let checked = history::check(&world.history(&run)).unwrap();
        assert_eq!(checked.records, view.offset + 1);
        (step, story(&world, &run))
    };
    let (steps, without) = told(None, None);
    assert!(steps > 12, "{steps}");
    for moment in 0..steps {
        assert_eq!(told(Some(moment), None).1, without, "migrated at {moment}");
        assert_eq!(told(Some(moment), Some(7)).1, without, "migrated at {moment}, with crashes");
    }
}

#[test]
fn what_is_added_runs_and_what_is_removed_never_does() {
    let old = definition("1", &[plain("a"), plain("b"), plain("gone")], &[edge("a", "b"), edge("b", "gone")]);
    let new = definition(
        "2",
        &[plain("a"), plain("b"), plain("tail"), plain("root"), plain("from_a")],
        &[edge("a", "b"), edge("b", "tail"), edge("a", "from_a")],
    );
    let (mut world, run) = begun(&old, &new);
    world.ok("a", "1");
    assert_eq!(world.view(&run).nodes_total, 3);
    migrate(&mut world, run, "2").outcome.unwrap();
    let open: BTreeSet<&str> = world.jobs.values().map(|job| &*job.node).collect();
    assert_eq!(open, BTreeSet::from(["b", "from_a", "root"]), "a root at once, and what comes after a decided node");
    assert_eq!(world.view(&run).nodes_total, 5);
    let offset = world.view(&run).offset;
    for node in ["b", "tail", "root", "from_a"] {
        world.ok(node, "1");
    }
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(world.events(&run).iter().all(|event| event.node() != "gone"));
    let migrated = last(&world, &run, "RunMigrated");
    assert_eq!(
        (&migrated["version"], &migrated["previous_version"], &migrated["epoch"], &migrated["by"]),
        (&json!("2"), &json!("1"), &json!(1), &json!("me"))
    );
    let bodies = world.bodies(&run);
    let at = |offset: u64| history::view_at(&bodies[..=offset as usize]).unwrap();
    let place = world.events(&run).iter().find(|event| event.name == "RunMigrated").unwrap().seq;
    assert_eq!((&*at(place - 1).version, at(place - 1).epoch), ("1", 0));
    assert_eq!((&*at(offset).version, at(offset).epoch), ("2", 1));
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn an_edge_that_is_taken_away_lets_its_join_fire_and_a_new_one_is_waited_for() {
    let nodes = [plain("a"), plain("b"), plain("c"), json!({"id": "j", "type": "join"})];
    let old = definition("1", &nodes, &[edge("a", "j"), edge("b", "j")]);
    let fires = definition("2", &nodes, &[edge("a", "j"), edge("j", "c")]);
    let waits = definition("3", &nodes, &[edge("a", "j"), edge("c", "j")]);
    let (mut world, run) = begun(&old, &waits);
    world.register(&fires.to_string());
    world.ok("a", "1");
    // c has begun: in 2 an edge leads into it.
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/nodes/2"]);
    migrate(&mut world, run, "3").outcome.unwrap();
    world.ok("b", "1");
    assert_eq!(world.state(&run), RunState::Running, "j waits for c now");
    world.ok("c", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn what_has_begun_stands_unchanged_but_for_how_it_is_tried() {
    let old = definition("1", &[function("a", json!({"effect": "read"})), plain("b")], &[edge("a", "b")]);
    for (n, changed) in [
        json!({"effect": "write"}),
        json!({"effect": "read", "config": {"name": "other"}}),
        json!({"effect": "read", "input": {"x": 1}}),
        json!({"effect": "read", "on_error": "continue"}),
        json!({"effect": "read", "compensation": {"name": "undo"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let new = definition("2", &[plain("b"), function("a", changed)], &[edge("a", "b")]);
        let (mut world, run) = begun(&old, &new);
        let before = world.machine.snapshot();
        let found = pointers(migrate(&mut world, run, "2"));
        let member = ["effect", "config", "input", "on_error", "compensation"][n];
        assert_eq!(found, [format!("/nodes/1/{member}")]);
        assert_eq!(world.machine.snapshot(), before, "a refusal changes nothing");
    }
    let removed = definition("2", &[plain("b")], &[]);
    let (mut world, run) = begun(&old, &removed);
    assert_eq!(pointers(migrate(&mut world, run, "2")), [""]);
    // A policy is taken by the next attempt.
    let patient = function("a", json!({"effect": "read", "retry": {"max_attempts": 3, "initial_s": 1}}));
    let new = definition("2", &[patient, plain("b")], &[edge("a", "b")]);
    let (mut world, run) = begun(&old, &new);
    migrate(&mut world, run, "2").outcome.unwrap();
    world.fail("a", "Broken");
    world.tick_next();
    assert_eq!(world.job("a").attempt, 2);
    world.ok("a", "1");
    world.ok("b", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn a_map_in_progress_keeps_its_body_and_goes_on() {
    let map = |name: &str| {
        let body = json!({"nodes": [function("x", json!({"config": {"name": name}}))], "edges": []});
        json!({"id": "m", "type": "map", "config": {"over": [1, 2, 3], "max_concurrency": 1, "body": body}})
    };
    let (mut world, run) = begun(&definition("1", &[map("f")], &[]), &definition("2", &[map("g")], &[]));
    world.register(&definition("3", &[map("f"), plain("after")], &[edge("m", "after")]).to_string());
    world.ok("m[0].x", "1");
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/nodes/0/config"]);
    migrate(&mut world, run, "3").outcome.unwrap();
    for node in ["m[1].x", "m[2].x", "after"] {
        world.ok(node, "1");
    }
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn a_guard_is_not_evaluated_for_a_node_that_is_decided() {
    let nodes = [plain("a"), plain("b"), plain("late")];
    let guarded = json!({"from": "a", "to": "late", "when": "inputs.x == 1"});
    let mut for_failures = guarded.clone();
    for_failures["on"] = json!("error");
    let old = definition("1", &nodes, &[edge("a", "b"), edge("b", "late")]);
    let new = definition("2", &nodes, &[edge("a", "b"), edge("b", "late"), guarded]);
    let on_error = definition("3", &nodes, &[edge("a", "b"), edge("b", "late"), for_failures]);
    let (mut world, run) = begun(&old, &new);
    world.register(&on_error.to_string());
    world.ok("a", "1");
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/edges/2/when"]);
    // It did not fail: that edge is dead whatever its guard says.
    migrate(&mut world, run, "3").outcome.unwrap();
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/edges/2/when"]);
    world.ok("b", "1");
    world.ok("late", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn what_is_read_of_an_output_must_have_been_kept() {
    let reads = |version: &str, path: &str| {
        let late = function("late", json!({"input": {"x": path}}));
        let mut new = definition(version, &[plain("a"), plain("b"), late], &[edge("a", "b"), edge("b", "late")]);
        new["output"] = json!({"b": "${nodes.b.status}"});
        new
    };
    let (mut world, run) = begun(&reads("1", "${nodes.a.output.p}"), &reads("2", "${nodes.a.output.p.q}"));
    for (version, path) in [("3", "${nodes.a.output.r}"), ("4", "${nodes.a.output}"), ("5", "${nodes.a.status}")] {
        world.register(&reads(version, path).to_string());
    }
    let long = "x".repeat(400);
    world.ok("a", &format!("{{\"p\":{{\"q\":7}},\"r\":\"{long}\"}}"));
    assert_eq!(pointers(migrate(&mut world, run, "3")), ["/nodes/0"]);
    assert_eq!(pointers(migrate(&mut world, run, "4")), ["/nodes/0"]);
    migrate(&mut world, run, "5").outcome.unwrap();
    // What nobody read in between is not promised any more.
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/nodes/0"]);
    let (mut world, run) = begun(&reads("1", "${nodes.a.output.p}"), &reads("2", "${nodes.a.output.p.q}"));
    world.ok("a", &format!("{{\"p\":{{\"q\":7}},\"r\":\"{long}\"}}"));
    migrate(&mut world, run, "2").outcome.unwrap();
    world.ok("b", "1");
    assert_eq!(&*world.job("late").input, b"{\"x\":7}", "below what the version before kept");
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn what_a_join_takes_back_is_not_changed_under_it() {
    let join = json!({"id": "j", "type": "join", "join": "any", "cancel_rest": true});
    let nodes = [plain("a"), plain("b"), join, plain("c")];
    let old = definition("1", &nodes, &[edge("a", "j"), edge("b", "j"), edge("j", "c")]);
    // In 2 b leads to c as well: it is not taken back.
    let new = definition("2", &nodes, &[edge("a", "j"), edge("b", "j"), edge("j", "c"), edge("b", "c")]);
    let (mut world, run) = begun(&old, &new);
    migrate(&mut world, run, "2").outcome.unwrap();
    world.ok("a", "1");
    assert_eq!(world.jobs.len(), 1, "b goes on");
    let mut world = world_of(old);
    world.register(&new.to_string());
    let run = world.start("w", 1, "{}");
    world.config.limits.events_per_turn_max = 1;
    world.ok("a", "1");
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/nodes/2", "/nodes/3"], "c has begun, too");
}

#[test]
fn a_correction_that_is_wanted_ends_where_the_new_version_has_none() {
    let corrected = function("a", json!({"correction": {"instructions": "Try"}}));
    let (mut world, run) = begun(&definition("1", &[corrected], &[]), &definition("2", &[plain("a")], &[]));
    let (tenant, by) = ("t".to_owned(), String::new());
    world.ask(Command::PauseRun(PauseRun {
        tenant: tenant.clone(),
        run_id: run,
        reason: String::new(),
        by: by.clone(),
    }));
    world.fail("a", "Broken");
    migrate(&mut world, run, "2").outcome.unwrap();
    assert_eq!(world.state(&run), RunState::Paused, "a pause outlasts a migration");
    world.ask(Command::ResumeRun(ResumeRun { tenant, run_id: run, by }));
    assert_eq!(world.state(&run), RunState::Failed);
    let message = last(&world, &run, "ToolResultReceived")["error"]["message"].clone();
    assert_eq!(message, "it broke (no correction: its version has none any more)");
}

#[test]
fn the_time_of_the_run_is_that_of_the_new_version() {
    let with = |version: &str, timeout: Option<u64>| {
        let mut definition = definition(version, &[plain("a")], &[]);
        if let Some(timeout) = timeout {
            definition["timeout_s"] = json!(timeout);
        }
        definition
    };
    let (mut world, run) = begun(&with("1", Some(100)), &with("2", None));
    world.register(&with("3", Some(50)).to_string());
    let started = world.now;
    assert_eq!(world.machine.next_due(), Some(started + 100 * SECOND));
    migrate(&mut world, run, "2").outcome.unwrap();
    assert_eq!(world.machine.next_due(), None);
    world.now += 60 * SECOND;
    migrate(&mut world, run, "3").outcome.unwrap();
    world.tick_next();
    world.ok("a", "1");
    assert!(world.view(&run).error.is_some());
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], "RUN_TIMEOUT");
}

#[test]
fn inputs_must_fit_the_new_version() {
    let mut new = definition("2", &[plain("a")], &[]);
    new["inputs"] = json!({"type": "object", "required": ["x"]});
    let (mut world, run) = begun(&definition("1", &[plain("a")], &[]), &new);
    assert_eq!(pointers(migrate(&mut world, run, "2")), ["/inputs"]);
}

#[test]
fn some_runs_keep_their_version() {
    let (one, two) = (definition("1", &[plain("a")], &[]), definition("2", &[plain("a"), plain("b")], &[]));
    let (mut world, run) = begun(&one, &two);
    let code = |reply: Reply| reply.outcome.unwrap_err().code;
    assert_eq!(code(migrate(&mut world, run, "9")), "WORKFLOW_NOT_FOUND");
    let stranger =
        MigrateRun { tenant: "other".into(), run_id: run, selector: Selector::Version("2".into()), by: String::new() };
    assert_eq!(code(world.ask(Command::MigrateRun(stranger))), "RUN_NOT_FOUND");
    world.cancel(run);
    assert_eq!(code(migrate(&mut world, run, "2")), "WRONG_STATE", "it is being undone");
    world.ok("a", "1");
    assert_eq!(code(migrate(&mut world, run, "2")), "RUN_ENDED");
    let again = world.replay_command(&run, 1, "a", false);
    let again = world.ask(Command::ReplayRun(Box::new(again))).outcome.unwrap().run_id.unwrap();
    assert_eq!(code(migrate(&mut world, again, "2")), "WRONG_STATE", "it keeps results");
    let holder = json!({"name": "above", "version": "1", "edges": [], "nodes": [
        {"id": "c", "type": "composite", "config": {"workflow": "w", "version": "1", "inputs": {}}}]});
    world.register(&holder.to_string());
    world.start("above", 5, "{}");
    let child = world.jobs.values().map(|job| job.run_id).find(|run| *run != again).unwrap();
    assert_eq!(code(migrate(&mut world, child, "2")), "WRONG_STATE", "its parent named its version");
}

#[test]
fn a_replay_of_a_migrated_run_is_of_its_last_version() {
    let old = definition("1", &[plain("a"), plain("b")], &[edge("a", "b")]);
    let new = definition("2", &[plain("a"), plain("b"), plain("c")], &[edge("a", "b"), edge("b", "c")]);
    let (mut world, run) = begun(&old, &new);
    world.ok("a", "1");
    migrate(&mut world, run, "2").outcome.unwrap();
    world.ok("b", "1");
    world.ok("c", "1");
    let again = world.replay_command(&run, 1, "c", false);
    let again = world.ask(Command::ReplayRun(Box::new(again))).outcome.unwrap().run_id.unwrap();
    assert_eq!(&*world.view(&again).version, "2");
    world.ok("c", "2");
    assert_eq!(world.state(&again), RunState::Completed);
}

#[test]
fn a_node_that_was_given_its_key_has_begun() {
    let section = function("k", json!({"concurrency_key": "only"}));
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.events_per_turn_max = 1;
    let mut world = World::new(config);
    world.register(&definition("1", &[section, plain("b")], &[]).to_string());
    world.register(&definition("2", &[plain("b")], &[]).to_string());
    let (first, second) = (world.start("w", 1, "{}"), world.start("w", 2, "{}"));
    let job = world.jobs.values().find(|job| job.run_id == first && &*job.node == "k").unwrap().clone();
    let outcome = Outcome::Ok(b"1".to_vec());
    let mut commands = vec![(0, Command::JobResult(JobResult { job: job.id, attempt: job.attempt, outcome }))];
    while world.events(&second).last().unwrap().payload["granted"] != true {
        world.turn(std::mem::take(&mut commands));
    }
    let requests = world.events(&second).into_iter().filter(|event| event.name == "ToolCallRequested");
    assert!(requests.map(|event| event.node()).all(|node| node != "k"), "it has its key, and no request yet");
    assert_eq!(pointers(migrate(&mut world, second, "2")), [""], "the key would be held for good");
}
