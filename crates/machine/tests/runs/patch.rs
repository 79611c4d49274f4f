//! Patches on a run: three gates, then it goes on under what they make.

use crate::world::{Chance, World};
use crate::{edge, function, last, world_of};
use apex_ir::overlay::{Allowed, Grant};
use apex_machine::command::{ApplyPatch, Command, MigrateRun, PatchRule, PatchRules, RollbackPatch, Selector};
use apex_machine::{Config, Refusal, Reply, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rules under which clients may what a grant says.
pub(crate) fn granting(grant: Grant) -> Arc<PatchRules> {
    let open = PatchRules::open();
    Arc::new(PatchRules { client: PatchRule { grant, ..open.client }, ..open })
}

pub(crate) fn command(run_id: RunId, operations: &Value) -> ApplyPatch {
    ApplyPatch {
        tenant: "t".into(),
        run_id,
        operations: operations.to_string().into_bytes(),
        reason: "so".into(),
        author: "me".into(),
        base_epoch: None,
        exact: false,
        idempotency_key: String::new(),
        rules: Arc::new(PatchRules::open()),
    }
}

pub(crate) fn send(world: &mut World, command: ApplyPatch) -> Reply {
    world.ask(Command::ApplyPatch(Box::new(command)))
}

pub(crate) fn patch(world: &mut World, run: RunId, operations: &Value) -> Reply {
    send(world, command(run, operations))
}

pub(crate) fn on(world: &mut World, run: RunId, epoch: u32, operations: &Value) -> Reply {
    send(world, ApplyPatch { base_epoch: Some(epoch), ..command(run, operations) })
}

pub(crate) fn roll_back(world: &mut World, patch_id: &str) -> Reply {
    roll_back_as(world, patch_id, Grant::all())
}

fn roll_back_as(world: &mut World, patch_id: &str, grant: Grant) -> Reply {
    let (tenant, reason, by, rules) = ("t".into(), "no".into(), "me".into(), granting(grant));
    world.ask(Command::RollbackPatch(RollbackPatch { tenant, patch_id: patch_id.into(), reason, by, rules }))
}

/// The id of a patch that was applied, and the epoch that it made.
pub(crate) fn applied(reply: Reply) -> (String, u64) {
    let details: Value = serde_json::from_slice(&reply.outcome.unwrap().details).unwrap();
    (details["patch_id"].as_str().unwrap().to_owned(), details["epoch"].as_u64().unwrap())
}

pub(crate) fn refused(reply: Reply) -> Refusal {
    reply.outcome.unwrap_err()
}

/// Code and first place.
pub(crate) fn refusal(reply: Reply) -> (&'static str, String) {
    let refusal = refused(reply);
    let details: Value = serde_json::from_slice(&refusal.details).unwrap_or_default();
    (refusal.code, details["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn plain(id: &str) -> Value {
    function(id, json!({}))
}

/// A node and an edge to it.
pub(crate) fn adds(id: &str, from: &str) -> Value {
    json!([{"op": "add", "path": "/nodes/-", "value": plain(id)},
           {"op": "add", "path": "/edges/-", "value": edge(from, id)}])
}

pub(crate) fn row(nodes: &[&str]) -> Value {
    let edges: Vec<Value> = nodes.windows(2).map(|pair| edge(pair[0], pair[1])).collect();
    let nodes: Vec<Value> = nodes.iter().map(|id| plain(id)).collect();
    json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges})
}

pub(crate) fn begun(definition: Value) -> (World, RunId) {
    let mut world = world_of(definition);
    let run = world.start("w", 1, "{}");
    (world, run)
}

pub(crate) fn open(world: &World) -> BTreeSet<String> {
    world.jobs.values().map(|job| job.node.to_string()).collect()
}

#[test]
fn what_a_patch_adds_starts_at_once_and_what_it_takes_away_never_does() {
    let (mut world, run) = begun(row(&["a", "b", "gone"]));
    world.ok("a", "1");
    let before = world.view(&run);
    let (id, epoch) = applied(patch(&mut world, run, &adds("late", "a")));
    assert_eq!((id.as_str(), epoch), (format!("{run}~p1").as_str(), 1));
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "late".to_owned()]), "a token from a node that ended ok");
    let removes = json!([{"op": "remove", "path": "/nodes/2"}, {"op": "remove", "path": "/edges/1"}]);
    applied(patch(&mut world, run, &removes));
    let after = world.view(&run);
    assert_eq!((before.patches, after.patches), (0, 2));
    assert_eq!((after.epoch, after.nodes_total), (2, 3));
    assert_ne!(before.ir_hash, after.ir_hash);
    world.ok("b", "1");
    world.ok("late", "2");
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(world.events(&run).iter().all(|event| event.node() != "gone"));
    let event = world.events(&run).into_iter().find(|event| event.name == "PatchApplied").unwrap().payload.clone();
    assert_eq!((&event["author"], &event["reason"], &event["epoch"]), (&json!("me"), &json!("so"), &json!(1)));
    assert_eq!(event["patch"], adds("late", "a"), "as it was sent");
    assert_eq!(event["operations"][0]["op"], "add_node");
    history::check(&world.history(&run)).unwrap();
    assert_eq!(refused(patch(&mut world, run, &adds("x", "a"))).code, "RUN_ENDED");
}

#[test]
fn each_gate_says_where() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let snapshot = world.machine.snapshot();
    let shape = |operations: Value| (operations, "PATCH_SHAPE_REFUSED");
    let meaning = |operations: Value| (operations, "PATCH_MEANING_REFUSED");
    for ((operations, code), pointer) in [
        (shape(json!([{"op": "put", "path": "/nodes/-", "value": 1}])), "/0/op"),
        (shape(json!([{"op": "remove", "path": "/nodes/7"}])), "/0/path"),
        (meaning(adds("late", "nobody")), "/edges/1/from"),
        (meaning(json!([{"op": "replace", "path": "/name", "value": "other"}])), "/name"),
        (meaning(json!([{"op": "test", "path": "/name", "value": "w"}])), ""),
        // a has begun.
        (meaning(json!([{"op": "replace", "path": "/nodes/0/config/name", "value": "g"}])), "/nodes/0/config"),
        (meaning(json!([{"op": "remove", "path": "/nodes/0"}, {"op": "remove", "path": "/edges/0"}])), ""),
        (
            meaning(json!([{"op": "add", "path": "/nodes/-", "value": plain("early")},
                           {"op": "add", "path": "/edges/-", "value": edge("early", "a")}])),
            "/nodes/0",
        ),
    ] {
        assert_eq!(refusal(patch(&mut world, run, &operations)), (code, pointer.to_owned()), "{operations}");
    }
    let narrow = Grant { functions: Allowed::Only(BTreeSet::from(["allowed".to_owned()])), ..Grant::all() };
    let with = |id: &str| ApplyPatch { rules: granting(narrow.clone()), ..command(run, &adds(id, "b")) };
    let refused = refusal(send(&mut world, with("late")));
    assert_eq!(refused, ("PATCH_SECURITY_REFUSED", "/nodes/2/config/name".to_owned()));
    assert_eq!(world.machine.snapshot(), snapshot, "a refusal changes nothing");
    applied(send(&mut world, with("allowed")));
}

#[test]
fn functions_fill_in_what_a_new_node_does_not_state() {
    let (mut world, run) = begun(row(&["a"]));
    let spec = apex_ir::FunctionSpec { effect: Some(apex_ir::ir::Effect::Pure), ..Default::default() };
    let functions = Some(Arc::new(apex_ir::FunctionTable::from([("late".to_owned(), spec)])));
    let rules = Arc::new(PatchRules { functions, ..PatchRules::open() });
    assert_eq!(
        refusal(send(&mut world, ApplyPatch { rules: rules.clone(), ..command(run, &adds("other", "a")) })).0,
        "PATCH_MEANING_REFUSED"
    );
    applied(send(&mut world, ApplyPatch { rules, ..command(run, &adds("late", "a")) }));
    world.ok("a", "1");
    assert_eq!(last(&world, &run, "ToolCallRequested")["effect"], "pure");
}

#[test]
fn a_patch_of_an_older_epoch_is_rebased_or_conflicts() {
    let (mut world, run) = begun(row(&["a", "b", "c"]));
    let renames = |name: &str| json!([{"op": "replace", "path": "/nodes/1/config/name", "value": name}]);
    let (first, _) = applied(patch(&mut world, run, &renames("f1")));
    // What the two touch is not the same: the operations apply as they are.
    applied(on(&mut world, run, 0, &json!([{"op": "replace", "path": "/nodes/2/config/name", "value": "g"}])));
    let conflict = refused(on(&mut world, run, 0, &renames("f2")));
    assert_eq!(conflict.code, "PATCH_CONFLICT");
    let details = String::from_utf8(conflict.details).unwrap();
    assert!(details.contains(&first) && details.contains("/config/name of b"), "{details}");
    // What touches nothing of that, but is for its own epoch only.
    let extra = adds("extra", "c");
    let only = |epoch| ApplyPatch { base_epoch: Some(epoch), exact: true, ..command(run, &extra) };
    assert_eq!(refused(send(&mut world, only(1))).code, "PATCH_CONFLICT");
    let (extra_id, _) = applied(send(&mut world, only(2)));
    assert_eq!(applied(roll_back(&mut world, &extra_id)).1, 4);
    // Seen from epoch 1, f1 is what stands there.
    applied(on(&mut world, run, 1, &renames("f2")));
    let seen = world.machine.definition_of("t", &run).unwrap();
    let definition: Value = serde_json::from_slice(&seen.0).unwrap();
    assert_eq!((&definition["nodes"][1]["config"]["name"], seen.1), (&json!("f2"), 5));
    assert_eq!(definition["nodes"][2]["config"]["name"], "g");
    assert_eq!(refused(on(&mut world, run, 9, &renames("f3"))).code, "PATCH_CONFLICT");
    // Two halves of a cycle touch different edges.
    let links = |from: &str, to: &str| json!([{"op": "add", "path": "/edges/-", "value": edge(from, to)}]);
    let nodes = json!([{"op": "add", "path": "/nodes/-", "value": plain("p")}, {"op": "add", "path": "/nodes/-", "value": plain("q")},
        {"op": "add", "path": "/edges/-", "value": edge("c", "p")}, {"op": "add", "path": "/edges/-", "value": edge("c", "q")}]);
    applied(patch(&mut world, run, &nodes));
    applied(on(&mut world, run, 6, &links("p", "q")));
    assert_eq!(refused(on(&mut world, run, 6, &links("q", "p"))).code, "PATCH_CONFLICT");
    world.ok("a", "1");
    assert_eq!(&*world.job("b").name, "f2");
}

#[test]
fn a_key_gives_the_same_patch_and_limits_hold() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.patches_per_run_max = 2;
    config.limits.patch_nodes_max = 2;
    config.limits.patch_bytes_max = 2_000;
    let mut world = World::new(config);
    world.register(&row(&["a", "b"]).to_string());
    let run = world.start("w", 1, "{}");
    let keyed = |operations: &Value| ApplyPatch { idempotency_key: "k".into(), ..command(run, operations) };
    let first = applied(send(&mut world, keyed(&adds("x", "b"))));
    let offset = world.view(&run).offset;
    let again = send(&mut world, keyed(&adds("x", "b"))).outcome.unwrap();
    assert!(again.existing);
    assert_eq!(world.view(&run).offset, offset);
    assert_eq!(refused(send(&mut world, keyed(&adds("y", "b")))).code, "IDEMPOTENCY_KEY_REUSED");
    let many: Vec<Value> =
        ["p", "q", "r"].iter().map(|id| json!({"op": "add", "path": "/nodes/-", "value": plain(id)})).collect();
    assert_eq!(
        refused(patch(&mut world, run, &json!(many))).message,
        "over patch_nodes_max (2): the patch adds 3 nodes"
    );
    let large =
        json!([{"op": "add", "path": "/nodes/-", "value": function("l", json!({"input": {"x": "y".repeat(3_000)}}))}]);
    assert_eq!(refused(patch(&mut world, run, &large)).code, "PATCH_SHAPE_REFUSED");
    roll_back(&mut world, &first.0).outcome.unwrap();
    applied(patch(&mut world, run, &adds("y", "b")));
    assert_eq!(refused(patch(&mut world, run, &adds("z", "b"))).message, "over patches_per_run_max (2)");
}

#[test]
fn a_rollback_drops_what_has_not_begun() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let hash = world.view(&run).ir_hash;
    let (first, _) = applied(patch(&mut world, run, &adds("x", "b")));
    let (second, _) = applied(patch(&mut world, run, &adds("y", "x")));
    let stands = refused(roll_back(&mut world, &first));
    assert_eq!(stands.code, "PATCH_CONFLICT");
    assert!(stands.message.contains(&second), "{}", stands.message);
    assert_eq!(applied(roll_back(&mut world, &second)), (second.clone(), 3));
    let again = roll_back(&mut world, &second).outcome.unwrap();
    assert!(again.existing);
    applied(roll_back(&mut world, &first));
    assert_eq!(world.view(&run).ir_hash, hash, "without patches it is the version again");
    assert_eq!((world.machine.counts().patches, world.machine.counts().rollbacks), (2, 2));
    let (third, _) = applied(patch(&mut world, run, &adds("z", "a")));
    world.ok("a", "1");
    assert_eq!(refusal(roll_back(&mut world, &third)), ("PATCH_STARTED", String::new()), "z is not there any more");
    for unknown in [format!("{run}~p9"), format!("{run}~p0"), format!("{run}"), "nothing".into()] {
        assert_eq!(refused(roll_back(&mut world, &unknown)).code, "PATCH_NOT_FOUND");
    }
    world.ok("b", "1");
    world.ok("z", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn a_crash_at_any_record_keeps_what_was_acknowledged() {
    for seed in 0..30 {
        let mut config = Config { partitions: 4, ..Config::default() };
        config.limits.events_per_turn_max = 1;
        let mut world = World::new(config);
        world.register(&row(&["a", "b"]).to_string());
        let run = world.start("w", 1, "{}");
        let mut chance = Chance(seed);
        applied(patch(&mut world, run, &adds("x", "a")));
        let (second, _) = applied(patch(&mut world, run, &adds("y", "x")));
        let hash = world.view(&run).ir_hash;
        world.crash(&mut chance);
        assert_eq!((world.view(&run).epoch, world.view(&run).ir_hash), (2, hash));
        world.settle(Vec::new());
        world.ok("a", "1");
        world.crash(&mut chance);
        world.settle(Vec::new());
        if chance.one_in(2) {
            roll_back(&mut world, &second).outcome.unwrap();
            world.crash(&mut chance);
            world.settle(Vec::new());
        }
        while let Some(job) = world.jobs.values().next().cloned() {
            world.ok(&job.node, "1");
        }
        assert_eq!(world.state(&run), RunState::Completed, "seed {seed}");
        history::check(&world.history(&run)).unwrap();
    }
}

#[test]
fn a_migration_takes_the_patches_along_and_so_does_a_replay() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let mut next = row(&["a", "b", "c"]);
    next["version"] = json!("2");
    world.register(&next.to_string());
    let mut other = row(&["a"]);
    other["version"] = json!("3");
    world.register(&other.to_string());
    applied(patch(&mut world, run, &adds("x", "b")));
    let migrate = |world: &mut World, version: &str| {
        let selector = Selector::Version(version.into());
        world.ask(Command::MigrateRun(MigrateRun { tenant: "t".into(), run_id: run, selector, by: String::new() }))
    };
    assert_eq!(refused(migrate(&mut world, "3")).code, "VERSION_INCOMPATIBLE", "there is no b to hang x on");
    migrate(&mut world, "2").outcome.unwrap();
    assert_eq!(refused(on(&mut world, run, 1, &adds("y", "b"))).code, "PATCH_CONFLICT", "made for another version");
    world.ok("a", "1");
    world.ok("b", "1");
    assert_eq!(open(&world), BTreeSet::from(["c".to_owned(), "x".to_owned()]));
    world.ok("c", "1");
    world.ok("x", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
    let again = world.replay_command(&run, 1, "x", false);
    let again = world.ask(Command::ReplayRun(Box::new(again))).outcome.unwrap().run_id.unwrap();
    assert_eq!(
        open(&world),
        BTreeSet::from(["x".to_owned()]),
        "x is there, and what it does not follow keeps its result"
    );
    assert_eq!(world.view(&again).ir_hash, world.view(&run).ir_hash);
    let taken_along = refused(roll_back(&mut world, &format!("{again}~p0")));
    assert_eq!(taken_along.code, "PATCH_NOT_FOUND", "what came with the start has no number and stays");
    world.crash(&mut Chance(1));
    world.supply();
    world.settle(Vec::new());
    world.ok("x", "2");
    assert_eq!(world.state(&again), RunState::Completed);
    history::check(&world.history(&again)).unwrap();
}

#[test]
fn a_child_is_patched_by_its_own_id() {
    let mut world = world_of(row(&["a", "b"]));
    let holder = json!({"name": "above", "version": "1", "edges": [], "nodes": [
        {"id": "c", "type": "composite", "config": {"workflow": "w", "version": "1", "inputs": {}}}]});
    world.register(&holder.to_string());
    let above = world.start("above", 5, "{}");
    let child = world.job("a").run_id;
    applied(patch(&mut world, child, &adds("x", "a")));
    for node in ["a", "b", "x"] {
        world.ok(node, "1");
    }
    assert_eq!(world.state(&above), RunState::Completed);
    let output = last(&world, &above, "ChildEnded")["output"].clone();
    assert_eq!(output, json!({"b": 1, "x": 1}));
}

#[test]
fn what_has_begun_stays_in_its_graph() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let body = json!({"nodes": [plain("a")], "edges": []});
    let map = json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}});
    let moves = json!([{"op": "remove", "path": "/edges/0"}, {"op": "remove", "path": "/nodes/0"},
        {"op": "add", "path": "/nodes/-", "value": map}]);
    assert_eq!(
        refusal(patch(&mut world, run, &moves)),
        ("PATCH_MEANING_REFUSED", "/nodes/1/config/body/nodes/0".into())
    );
    world.ok("a", "1");
    world.ok("b", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn what_a_patch_reaches_anew_is_told_from_what_is_in_force() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let calls = |id: &str| {
        json!([{"op": "add", "path": "/nodes/-", "value": function(id, json!({"config": {"name": "other"}}))},
               {"op": "add", "path": "/edges/-", "value": edge("b", id)}])
    };
    let (first, _) = applied(patch(&mut world, run, &calls("x")));
    applied(roll_back(&mut world, &first));
    let weak = ApplyPatch { base_epoch: Some(1), rules: granting(Grant::default()), ..command(run, &calls("y")) };
    let refused = refusal(send(&mut world, weak));
    assert_eq!(refused, ("PATCH_SECURITY_REFUSED", "/nodes/2/config/name".to_owned()));
}

#[test]
fn nothing_goes_round_an_approval() {
    let ask = json!({"id": "ask", "type": "approval", "config": {"prompt": "?"}});
    let (mut world, run) = begun(json!({"name": "w", "version": "1",
        "nodes": [plain("a"), ask, plain("pack"), plain("ship")],
        "edges": [edge("a", "ask"), edge("ask", "pack"), edge("pack", "ship")]}));
    let send_weak = |world: &mut World, operations: &Value| {
        refused(send(world, ApplyPatch { rules: granting(Grant::default()), ..command(run, operations) })).code
    };
    let again = function("again", json!({"config": {"name": "ship"}}));
    for operations in [
        // It would be a root.
        json!([{"op": "remove", "path": "/edges/2"}]),
        // It would have another way.
        json!([{"op": "add", "path": "/edges/-", "value": edge("a", "ship")}]),
        // It would be called by another.
        json!([{"op": "add", "path": "/nodes/-", "value": again}]),
    ] {
        assert_eq!(send_weak(&mut world, &operations), "PATCH_SECURITY_REFUSED", "{operations}");
    }
    let behind = json!([{"op": "add", "path": "/nodes/-", "value": again},
        {"op": "add", "path": "/edges/-", "value": edge("pack", "again")},
        {"op": "add", "path": "/edges/-", "value": edge("again", "ship")}]);
    applied(send(&mut world, ApplyPatch { rules: granting(Grant::default()), ..command(run, &behind) }));
}

#[test]
fn a_child_whose_end_is_recorded_above_is_not_patched() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.events_per_turn_max = 1;
    let mut world = World::new(config);
    world.register(&row(&["a"]).to_string());
    let holder = json!({"name": "above", "version": "1", "edges": [], "nodes": [
        {"id": "c", "type": "composite", "config": {"workflow": "w", "version": "1", "inputs": {}}}]});
    world.register(&holder.to_string());
    let above = world.start("above", 5, "{}");
    let child = world.job("a").run_id;
    world.ok("a", "1");
    let told = world.events(&above).into_iter().find(|event| event.name == "ChildEnded").unwrap().position;
    world.log.truncate(told as usize + 1);
    world.durable = told + 1;
    world.crash(&mut Chance(1));
    assert_eq!(world.state(&child), RunState::Running);
    assert_eq!(refused(patch(&mut world, child, &adds("x", "a"))).code, "WRONG_STATE");
    assert_eq!((world.state(&child), world.state(&above)), (RunState::Completed, RunState::Completed));
}

#[test]
fn a_rollback_takes_no_approval_away_that_its_author_may_not_take_away() {
    let (mut world, run) = begun(row(&["a", "ship"]));
    let ask = json!({"id": "ask", "type": "approval", "config": {"prompt": "?"}});
    let (guard, _) = applied(patch(
        &mut world,
        run,
        &json!([{"op": "remove", "path": "/edges/0"},
        {"op": "add", "path": "/nodes/-", "value": ask}, {"op": "add", "path": "/edges/-", "value": edge("a", "ask")},
        {"op": "add", "path": "/edges/-", "value": edge("ask", "ship")}]),
    ));
    let (other, _) = applied(patch(&mut world, run, &adds("late", "ship")));
    let refused = refused(roll_back_as(&mut world, &guard, Grant::default()));
    assert_eq!(refused.code, "PATCH_SECURITY_REFUSED");
    assert!(refused.message.contains("ship would begin without the approval ask"), "{}", refused.message);
    applied(roll_back_as(&mut world, &other, Grant::default()));
    applied(roll_back(&mut world, &guard));
    world.ok("a", "1");
    world.ok("ship", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn what_became_of_patches_is_counted() {
    let (mut world, run) = begun(row(&["a"]));
    applied(patch(&mut world, run, &adds("x", "a")));
    refused(patch(&mut world, run, &json!([{"op": "remove", "path": "/nodes/9"}])));
    refused(patch(&mut world, run, &adds("y", "nobody")));
    refused(send(&mut world, ApplyPatch { author: "optimizer:p@1".into(), ..command(run, &adds("x", "a")) }));
    let counts = world.machine.patch_counts();
    assert_eq!(
        counts,
        [
            (("client", "applied", ""), 1),
            (("client", "refused", "meaning"), 1),
            (("client", "refused", "shape"), 1),
            (("optimizer", "refused", "meaning"), 1)
        ]
    );
    assert_eq!(world.machine.counts().patches, 1);
}
