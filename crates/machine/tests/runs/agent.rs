//! Agents that patch their run in their result.

use crate::patch::{adds, open, patch, plain, refused};
use crate::world::{Chance, World};
use crate::{edge, last, world_of};
use apex_ir::overlay::Grant;
use apex_machine::command::{
    ApprovePatch, Command, JobResult, Outcome, PatchPolicy, PatchRule, PatchRules, ResultPatch,
};
use apex_machine::{Config, Job, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn agent(id: &str, may_patch: bool) -> Value {
    json!({"id": id, "type": "agent", "config": {"prompt": "?", "may_patch": may_patch}})
}

/// `plan`, an agent, then `b`.
fn definition(may_patch: bool) -> Value {
    json!({"name": "w", "version": "1", "nodes": [agent("plan", may_patch), plain("b")], "edges": [edge("plan", "b")]})
}

fn ruling(policy: PatchPolicy, grant: Grant) -> Arc<PatchRules> {
    Arc::new(PatchRules { agent: PatchRule { policy, grant }, ..PatchRules::open() })
}

fn result(output: &str, operations: &Value, base_epoch: u32, rules: Arc<PatchRules>) -> Outcome {
    let (operations, reason) = (operations.to_string().into_bytes(), "it helps".to_owned());
    Outcome::Patched(output.into(), Box::new(ResultPatch { operations, reason, base_epoch, rules }))
}

/// The agent answers, with a patch on what it was shown.
fn answers(world: &mut World, node: &str, operations: &Value, rules: Arc<PatchRules>) {
    let job = world.job(node);
    let epoch = job.patching.as_ref().map_or(0, |patching| patching.epoch);
    world.answer(&job, result("{\"n\":7}", operations, epoch, rules));
}

fn freely() -> Arc<PatchRules> {
    ruling(PatchPolicy::Apply, Grant::all())
}

fn begun(definition: Value) -> (World, RunId) {
    let mut world = world_of(definition);
    let run = world.start("w", 1, "{}");
    (world, run)
}

fn finish(world: &mut World, run: RunId) {
    while let Some(job) = world.jobs.values().next().cloned() {
        world.ok(&job.node, "1");
    }
    assert_eq!(world.state(&run), RunState::Completed, "{:?}", world.names(&run));
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn a_patch_in_a_result_applies_before_that_result_is_routed() {
    let (mut world, run) = begun(definition(true));
    let shown = world.job("plan").patching.unwrap();
    assert_eq!((&*shown.definition, shown.epoch), (&*world.machine.definition_of("t", &run).unwrap().0, 0));
    // Guards of new edges out of the agent are evaluated with what it says.
    let operations = json!([
        {"op": "add", "path": "/nodes/-", "value": plain("yes")}, {"op": "add", "path": "/nodes/-", "value": plain("no")},
        {"op": "add", "path": "/edges/-", "value": {"from": "plan", "to": "yes", "when": "nodes.plan.output.n == 7"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "plan", "to": "no", "when": "nodes.plan.output.n == 8"}}]);
    answers(&mut world, "plan", &operations, freely());
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "yes".to_owned()]));
    let names = world.names(&run);
    let place = |name| names.iter().position(|seen| *seen == name).unwrap();
    assert_eq!(place("PatchApplied") + 1, place("ToolResultReceived"));
    let event = last(&world, &run, "PatchApplied");
    assert_eq!(
        (&event["author"], &event["reason"], &event["patch"]),
        (&json!("agent:plan"), &json!("it helps"), &operations)
    );
    assert_eq!(world.view(&run).epoch, 1);
    assert!(world.job("b").patching.is_none(), "no agent");
    finish(&mut world, run);
}

#[test]
fn a_refused_patch_is_recorded_and_the_result_stands() {
    for (may_patch, operations, rules, gate, code) in [
        (false, adds("x", "plan"), freely(), "security", "PATCH_SECURITY_REFUSED"),
        (true, json!({"no": "list"}), freely(), "shape", "PATCH_SHAPE_REFUSED"),
        (true, adds("x", "nobody"), freely(), "meaning", "PATCH_MEANING_REFUSED"),
        (
            true,
            json!([{"op": "replace", "path": "/nodes/0/config/prompt", "value": "!"}]),
            freely(),
            "meaning",
            "PATCH_MEANING_REFUSED",
        ),
        (true, adds("x", "plan"), ruling(PatchPolicy::Apply, Grant::default()), "security", "PATCH_SECURITY_REFUSED"),
        (true, adds("x", "plan"), ruling(PatchPolicy::Refuse, Grant::all()), "security", "PATCH_SECURITY_REFUSED"),
    ] {
        let (mut world, run) = begun(definition(may_patch));
        assert_eq!(world.job("plan").patching.is_some(), may_patch);
        answers(&mut world, "plan", &operations, rules);
        let event = last(&world, &run, "PatchRejected");
        assert_eq!((&event["gate"], &event["code"]), (&json!(gate), &json!(code)), "{event}");
        assert_eq!(
            (&event["author"], &event["patch"], &event["number"], &event["reason"]),
            (&json!("agent:plan"), &operations, &json!(1), &json!("it helps"))
        );
        assert_eq!(world.view(&run).epoch, 0);
        assert_eq!(world.machine.patch_counts(), [(("agent", "refused", gate), 1)]);
        finish(&mut world, run);
    }
}

#[test]
fn what_is_no_value_or_too_large_is_refused_without_being_kept() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.patch_bytes_max = 200;
    let mut world = World::new(config);
    world.register(&definition(true).to_string());
    for (n, operations) in
        [b"{no".to_vec(), adds(&"x".repeat(128), "plan").to_string().into_bytes()].into_iter().enumerate()
    {
        let run = world.start("w", n as u64 + 1, "{}");
        let patch = ResultPatch { operations, reason: "r".repeat(9_999), base_epoch: 0, rules: freely() };
        let job = world.job("plan");
        world.answer(&job, Outcome::Patched(b"1".to_vec(), Box::new(patch)));
        let event = last(&world, &run, "PatchRejected");
        assert_eq!((&event["gate"], event.get("patch")), (&json!("shape"), None), "{event}");
        finish(&mut world, run);
    }
}

#[test]
fn an_attempt_that_fails_patches_nothing() {
    let (mut world, run) = begun(definition(true));
    let job = world.job("plan");
    let operations = adds("x", "plan");
    world.settle(vec![(
        0,
        Command::JobResult(JobResult {
            job: job.id,
            attempt: job.attempt + 1,
            outcome: result("1", &operations, 0, freely()),
        }),
    )]);
    assert_eq!(world.view(&run).epoch, 0, "of another attempt");
    world.answer(&job, result("{no value", &operations, 0, freely()));
    assert_eq!(world.state(&run), RunState::Failed);
    assert!(!world.names(&run).iter().any(|name| name.starts_with("Patch")));
}

#[test]
fn one_made_on_what_the_agent_saw_is_rebased_or_conflicts() {
    for conflicts in [false, true] {
        let (mut world, run) = begun(definition(true));
        let rename = |name: &str| json!([{"op": "replace", "path": "/nodes/1/config/name", "value": name}]);
        let job = world.job("plan");
        crate::patch::applied(crate::patch::patch(&mut world, run, &rename("f")));
        let operations = if conflicts { rename("g") } else { adds("x", "plan") };
        world.answer(&job, result("1", &operations, 0, freely()));
        let name = if conflicts { "PatchRejected" } else { "PatchApplied" };
        assert_eq!(last(&world, &run, name)["base_epoch"], 0);
        assert_eq!(world.view(&run).epoch, if conflicts { 1 } else { 2 });
        finish(&mut world, run);
    }
}

#[test]
fn one_made_on_what_never_was_is_refused_and_says_of_which_epoch() {
    let (mut world, run) = begun(definition(true));
    let job = world.job("plan");
    world.answer(&job, result("1", &adds("x", "plan"), 3, freely()));
    let event = last(&world, &run, "PatchRejected");
    assert_eq!((&event["code"], &event["base_epoch"]), (&json!("PATCH_CONFLICT"), &json!(3)));
    finish(&mut world, run);
}

#[test]
fn of_places_that_are_too_many_to_record_the_message_says_the_first() {
    let edges = |places: usize, longer: usize| -> Value {
        let name = |n| format!("nobody{n}{}", "x".repeat(if n == 0 { longer } else { 0 }));
        (0..places).map(|n| json!({"op": "add", "path": "/edges/-", "value": edge("plan", &name(n))})).collect()
    };
    let bytes_of = |operations: &Value| {
        let (mut world, run) = begun(definition(true));
        refused(patch(&mut world, run, operations)).details.len()
    };
    let max = 16 << 10;
    let places = (1..400).rev().find(|&places| bytes_of(&edges(places, 0)) <= max).unwrap();
    let longer = (0..100).find(|&longer| bytes_of(&edges(places, longer)) >= max).unwrap();
    assert_eq!(bytes_of(&edges(places, longer)), max);
    for (operations, are_kept) in [(edges(2, 0), true), (edges(places, longer), true), (edges(400, 0), false)] {
        let (mut world, run) = begun(definition(true));
        answers(&mut world, "plan", &operations, freely());
        let event = last(&world, &run, "PatchRejected");
        assert_eq!(event.get("details").is_some_and(|details| !details.is_null()), are_kept);
        assert!(event["message"].as_str().unwrap().contains("nobody0"), "{}", event["message"]);
        finish(&mut world, run);
    }
}

#[test]
fn one_that_needs_a_person_waits_while_the_run_goes_on() {
    let (mut world, run) = begun(definition(true));
    answers(&mut world, "plan", &adds("x", "plan"), ruling(PatchPolicy::Approve, Grant::all()));
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned()]));
    assert_eq!(last(&world, &run, "PatchProposed")["author"], "agent:plan");
    let (tenant, patch_id, reason, by) = ("t".into(), format!("{run}~p1"), String::new(), String::new());
    let approval = ApprovePatch { tenant, patch_id, approve: true, reason, by, rules: freely() };
    world.ask(Command::ApprovePatch(approval)).outcome.unwrap();
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "x".to_owned()]));
    finish(&mut world, run);
}

#[test]
fn an_agent_adds_so_many_nodes_over_all_its_patches() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.agent_nodes_max = 2;
    let mut world = World::new(config);
    let body = json!({"nodes": [agent("plan", true)]});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2, 3], "max_concurrency": 1, "body": body}});
    world.register(&json!({"name": "w", "version": "1", "nodes": [map]}).to_string());
    let run = world.start("w", 1, "{}");
    for n in 0..3 {
        let operations = json!([{"op": "add", "path": "/nodes/-", "value": plain(&format!("x{n}"))}]);
        answers(&mut world, &format!("m[{n}].plan"), &operations, freely());
    }
    let event = last(&world, &run, "PatchRejected");
    assert_eq!(
        (&event["code"], &event["gate"], &event["author"]),
        (&json!("LIMIT_EXCEEDED"), &json!("meaning"), &json!("agent:m[2].plan"))
    );
    assert_eq!(event["message"], "over agent_nodes_max (2): patches of plan have added 2 nodes, and this one adds 1");
    finish(&mut world, run);
}

#[test]
fn agents_stand_so_deep_below_each_other() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.agent_depth_max = 2;
    let mut world = World::new(config);
    world.register(&definition(true).to_string());
    let run = world.start("w", 1, "{}");
    let spawns = |id: &str, from: &str| {
        json!([{"op": "add", "path": "/nodes/-", "value": agent(id, true)},
               {"op": "add", "path": "/edges/-", "value": edge(from, id)}])
    };
    answers(&mut world, "plan", &spawns("second", "plan"), freely());
    answers(&mut world, "second", &spawns("third", "second"), freely());
    answers(&mut world, "third", &spawns("fourth", "third"), freely());
    assert_eq!(
        last(&world, &run, "PatchRejected")["message"],
        "over agent_depth_max (2): fourth would stand 3 agents deep"
    );
    finish(&mut world, run);
}

#[test]
fn a_patch_that_waits_for_a_person_makes_no_agent_less_deep() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.agent_depth_max = 2;
    let mut world = World::new(config);
    let nodes = [agent("plan", true), agent("other", true)];
    world.register(&json!({"name": "w", "version": "1", "nodes": nodes, "edges": []}).to_string());
    let run = world.start("w", 1, "{}");
    let spawn = |world: &mut World, id: &str, from: &str, rules| {
        let operations = json!([{"op": "add", "path": "/nodes/-", "value": agent(id, true)},
            {"op": "add", "path": "/edges/-", "value": edge(from, id)}]);
        answers(world, from, &operations, rules);
    };
    spawn(&mut world, "third", "other", ruling(PatchPolicy::Approve, Grant::all()));
    spawn(&mut world, "second", "plan", freely());
    spawn(&mut world, "third", "second", freely());
    spawn(&mut world, "fourth", "third", freely());
    assert_eq!(
        last(&world, &run, "PatchRejected")["message"],
        "over agent_depth_max (2): fourth would stand 3 agents deep"
    );
    finish(&mut world, run);
}

#[test]
fn a_crash_between_the_patch_and_the_result_applies_it_once() {
    let (mut world, run) = begun(definition(true));
    answers(&mut world, "plan", &adds("x", "plan"), freely());
    let patched = world.events(&run).into_iter().find(|event| event.name == "PatchApplied").unwrap().position;
    world.log.truncate(patched as usize + 1);
    world.durable = patched + 1;
    world.crash(&mut Chance(1));
    world.settle(Vec::new());
    // The model is asked again, about what is there now, and answers otherwise.
    let job: Job = world.job("plan");
    assert_eq!((job.attempt, job.patching.as_ref().unwrap().epoch), (1, 1));
    answers(&mut world, "plan", &adds("y", "plan"), freely());
    assert_eq!(world.view(&run).epoch, 1, "the first one stands");
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "x".to_owned()]));
    finish(&mut world, run);
}

#[test]
fn a_run_that_is_paused_takes_the_patch_and_one_that_fails_does_not() {
    let (mut world, run) = begun(definition(true));
    let (tenant, reason, by) = ("t".to_owned(), String::new(), String::new());
    world
        .ask(Command::PauseRun(apex_machine::command::PauseRun { tenant: tenant.clone(), run_id: run, reason, by }))
        .outcome
        .unwrap();
    answers(&mut world, "plan", &adds("x", "plan"), freely());
    assert!(world.jobs.is_empty());
    world
        .ask(Command::ResumeRun(apex_machine::command::ResumeRun { tenant, run_id: run, by: String::new() }))
        .outcome
        .unwrap();
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "x".to_owned()]));
    finish(&mut world, run);

    let (mut world, run) = begun(definition(true));
    world.cancel(run);
    answers(&mut world, "plan", &adds("x", "plan"), freely());
    let event = last(&world, &run, "PatchRejected");
    assert_eq!((&event["code"], event.get("gate")), (&json!("WRONG_STATE"), None));
    assert_eq!(world.state(&run), RunState::Cancelled);
    history::check(&world.history(&run)).unwrap();
}

/// Agents `p0`, `p1`, … one after another.
fn row(count: usize) -> Value {
    let nodes: Vec<Value> = (0..count).map(|at| agent(&format!("p{at}"), true)).collect();
    let edges: Vec<Value> = (1..count).map(|at| edge(&format!("p{}", at - 1), &format!("p{at}"))).collect();
    json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges})
}

fn told(world: &World, node: &str) -> Vec<Value> {
    serde_json::from_slice(&world.job(node).patching.unwrap().refused).unwrap()
}

#[test]
fn the_next_agent_is_told_of_the_last_patches_that_were_refused() {
    let (mut world, run) = begun(row(7));
    assert_eq!(told(&world, "p0"), [] as [Value; 0]);
    answers(&mut world, "p0", &adds("x", "nobody"), freely());
    let [first] = &told(&world, "p1")[..] else { panic!("one is refused") };
    assert_eq!((&first["author"], &first["code"]), (&json!("agent:p0"), &json!("PATCH_MEANING_REFUSED")));
    assert_eq!((&first["patch_id"], &first["reason"]), (&json!(format!("{run}~p1")), &json!("it helps")));
    assert_eq!(first["details"]["errors"][0]["pointer"], "/edges/6/from");
    // What a person rejects is told in the words of that person, once that is decided.
    answers(&mut world, "p1", &adds("y", "p1"), ruling(PatchPolicy::Approve, Grant::all()));
    assert_eq!(told(&world, "p2").len(), 1);
    let (tenant, patch_id, by) = ("t".into(), format!("{run}~p2"), "ada".into());
    let no = ApprovePatch { tenant, patch_id, approve: false, reason: "too dear".into(), by, rules: freely() };
    world.ask(Command::ApprovePatch(no)).outcome.unwrap();
    world.durable = world.log.len() as u64;
    world.crash(&mut Chance(7));
    let second = &told(&world, "p2")[1];
    assert_eq!((&second["code"], &second["message"]), (&json!(""), &json!("too dear")));
    for at in 2..6 {
        answers(&mut world, &format!("p{at}"), &json!([{"op": "remove", "path": "/nodes/99"}]), freely());
    }
    let authors: Vec<Value> = told(&world, "p6").iter().map(|one| one["author"].clone()).collect();
    assert_eq!(authors, ["agent:p2", "agent:p3", "agent:p4", "agent:p5"], "the last ones");
    finish(&mut world, run);
}

#[test]
fn a_run_knows_where_its_patches_stand_in_the_log() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.patches_per_run_max = 3;
    let mut world = World::new(config);
    world.register(&row(7).to_string());
    let run = world.start("w", 1, "{}");
    let none = json!([{"op": "remove", "path": "/nodes/99"}]);
    answers(&mut world, "p0", &none, freely());
    answers(&mut world, "p1", &adds("x", "p1"), freely());
    for at in 2..6 {
        answers(&mut world, &format!("p{at}"), &none, freely());
    }
    let stand = |world: &World| -> Vec<(u32, &'static str)> {
        let records = world.view(&run).patch_records;
        let named = records.iter().map(|&(number, offset, position)| {
            let event = world.events(&run).into_iter().find(|event| event.seq == offset).unwrap();
            assert_eq!((event.position, &event.payload["number"]), (position, &json!(number)));
            (number, event.name)
        });
        named.collect()
    };
    let expected = [(2, "PatchApplied"), (4, "PatchRejected"), (5, "PatchRejected"), (6, "PatchRejected")];
    assert_eq!(stand(&world), expected, "of those that were refused the last three");
    finish(&mut world, run);
    assert_eq!(stand(&world), expected, "also when it has ended");
    assert_eq!(world.view(&run).patches, 6);
}

#[test]
fn what_a_person_rejects_does_not_take_the_place_of_what_was_refused() {
    let mut world = world_of(row(3));
    let run = world.start("w", 1, "{}");
    answers(&mut world, "p0", &json!([{"op": "remove", "path": "/nodes/99"}]), freely());
    answers(&mut world, "p1", &adds("x", "p1"), ruling(PatchPolicy::Approve, Grant::all()));
    let (tenant, patch_id, by, reason) = ("t".into(), format!("{run}~p2"), "ada".into(), String::new());
    let no = ApprovePatch { tenant, patch_id, approve: false, reason, by, rules: freely() };
    world.ask(Command::ApprovePatch(no)).outcome.unwrap();
    let numbers: Vec<u32> = world.machine.run("t", &run).unwrap().patch_records.iter().map(|place| place.0).collect();
    assert!(numbers.contains(&1), "{numbers:?}");
}
