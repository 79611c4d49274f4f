use crate::world::{Chance, SECOND, World};
use crate::{edge, function, last, world_of};
use apex_ir::overlay::{Allowed, Grant};
use apex_machine::command::{
    Arm, Command, PatchPolicy, PatchWorkflow, RegisterWorkflow, Runs, Selector, TagWorkflow, UnpatchWorkflow,
};
use apex_machine::error::code;
use apex_machine::view::{PatchStatus, WorkflowPatchView};
use apex_machine::{Answer, Config, Machine, Refusal, RunState};
use serde_json::{Value, json};

fn world() -> World {
    world_of(json!({"name": "w", "version": "1", "nodes": [function("a", json!({})), function("b", json!({}))],
        "edges": [edge("a", "b")]}))
}

fn command(operations: &Value) -> PatchWorkflow {
    PatchWorkflow {
        tenant: "t".into(),
        name: "w".into(),
        selector: Selector::Latest,
        set: String::new(),
        operations: operations.to_string().into_bytes(),
        reason: "so".into(),
        author: "me".into(),
        idempotency_key: String::new(),
        policy: PatchPolicy::Apply,
        grant: Grant::all(),
        at_once: false,
    }
}

fn send(world: &mut World, command: PatchWorkflow) -> Result<Answer, Refusal> {
    world.ask(Command::PatchWorkflow(Box::new(command))).outcome
}

fn id_of(answer: Answer) -> String {
    let details: Value = serde_json::from_slice(&answer.details).unwrap();
    details["patch_id"].as_str().unwrap().to_owned()
}

fn propose(world: &mut World, operations: &Value) -> String {
    id_of(send(world, command(operations)).unwrap())
}

fn roll_back(world: &mut World, patch_id: &str) -> Result<Value, Refusal> {
    roll_back_as(world, patch_id, Grant::all())
}

fn roll_back_as(world: &mut World, patch_id: &str, grant: Grant) -> Result<Value, Refusal> {
    let (tenant, reason, by) = ("t".into(), "no".into(), "me".into());
    let command = UnpatchWorkflow { tenant, patch_id: patch_id.into(), reason, by, grant };
    let outcome = world.ask(Command::UnpatchWorkflow(command));
    outcome.outcome.map(|answer| serde_json::from_slice(&answer.details).unwrap())
}

fn tag(world: &mut World, tag: &str, version: &str, arms: Vec<Arm>) -> Result<Answer, Refusal> {
    let (tenant, name, version, tag) = ("t".into(), "w".into(), version.into(), tag.into());
    world.ask(Command::TagWorkflow(TagWorkflow { tenant, name, version, tag, expected_version: None, arms })).outcome
}

fn arm(version: &str, share: u32) -> Arm {
    Arm { runs: Runs::Version(version.into()), share }
}

fn shown(world: &World, patch_id: &str) -> WorkflowPatchView {
    world.machine.workflow_patch("t", patch_id).unwrap()
}

/// Adds a node at the end, after `a`.
fn adds(id: &str) -> Value {
    json!([{"op": "add", "path": "/nodes/-", "value": function(id, json!({}))},
        {"op": "add", "path": "/edges/-", "value": edge("a", id)}])
}

fn timeout(seconds: u64) -> Value {
    json!([{"op": "add", "path": "/nodes/0/timeout_s", "value": seconds}])
}

fn latest(world: &World) -> (String, Value) {
    let view = world.machine.workflow("t", "w", &Selector::Latest).unwrap();
    (view.version.to_string(), serde_json::from_slice(&view.definition).unwrap())
}

fn versions(world: &World) -> Vec<String> {
    world.machine.workflows("t").iter().rev().map(|view| view.version.to_string()).collect()
}

fn names(world: &World) -> Vec<&'static str> {
    world.seen.iter().map(|event| event.name).collect()
}

/// Five seconds later.
fn materialize(world: &mut World) {
    world.tick_at(world.now + 5 * SECOND);
}

#[test]
fn patches_wait_five_seconds_and_make_one_version_that_the_tag_moves_to() {
    let mut world = world();
    let first = propose(&mut world, &adds("c"));
    world.now += 2 * SECOND;
    let second = propose(&mut world, &timeout(7));
    assert_eq!((first.as_str(), second.as_str()), ("w~w1", "w~w2"));
    assert_eq!(world.machine.next_due(), Some(6 * SECOND), "five seconds after the first");
    assert_eq!(world.machine.counts().workflow_patches_waiting, 2);
    world.tick_at(6 * SECOND - 1);
    assert_eq!(shown(&world, &first).status, PatchStatus::Pending);
    assert_eq!(versions(&world), ["1"]);
    world.tick_at(6 * SECOND);
    assert_eq!(versions(&world), ["1", "1+patches.1"], "the batch makes one version");
    let (version, definition) = latest(&world);
    assert_eq!(version, "1+patches.1");
    assert_eq!(definition["version"], "1+patches.1");
    assert_eq!(definition["nodes"][2]["id"], "c");
    assert_eq!(definition["nodes"][0]["timeout_s"], 7);
    for patch in [&first, &second] {
        let view = shown(&world, patch);
        assert_eq!((view.status, view.version.as_str()), (PatchStatus::Applied, "1+patches.1"));
        assert_eq!((view.author.as_str(), view.reason.as_str(), view.tag.as_str()), ("me", "so", "main"));
    }
    let view = world.machine.workflow("t", "w", &Selector::Latest).unwrap();
    let derived = view.derived.unwrap();
    assert_eq!((derived.base_version.as_str(), derived.set.as_str(), derived.generation), ("1", "patches", 1));
    assert_eq!(derived.patches, [first, second]);
    assert_eq!(world.machine.next_due(), None);
    let counts = world.machine.counts();
    assert_eq!((counts.workflow_patches_waiting, counts.workflow_patches_accepted, counts.versions_derived), (0, 2, 1));
    let run = world.start("w", 1, "{}");
    assert_eq!(&*world.view(&run).version, "1+patches.1");
    world.ok("a", "1");
    world.ok("b", "1");
    world.ok("c", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert!(world.machine.workflow_patch("other", "w~w1").is_none(), "invariant 9");
}

#[test]
fn a_hundred_patches_do_not_wait_and_the_next_ones_do() {
    let mut world = world();
    for n in 0..150 {
        propose(&mut world, &timeout(1 + n));
    }
    assert_eq!(world.machine.next_due(), Some(world.now), "the hundredth makes the batch due");
    world.tick_at(world.now);
    assert_eq!(versions(&world), ["1", "1+patches.1"]);
    assert_eq!(latest(&world).1["nodes"][0]["timeout_s"], 100, "those of the batch, in their order");
    assert_eq!(world.machine.counts().workflow_patches_waiting, 50);
    materialize(&mut world);
    assert_eq!(latest(&world).1["nodes"][0]["timeout_s"], 150);
    assert_eq!(versions(&world).len(), 3);
}

#[test]
fn a_turn_judges_one_patch_and_takes_commands_between() {
    let mut world = world();
    for n in 0..5 {
        propose(&mut world, &timeout(1 + n));
    }
    world.now += 5 * SECOND;
    let mut turns = Vec::new();
    let mut commands = vec![(0, Command::Tick)];
    loop {
        let (count, more) = world.turn(std::mem::take(&mut commands));
        turns.push(count);
        if !more {
            break;
        }
    }
    // Six steps: five patches, then the version and its tag.
    assert_eq!(turns, [1, 1, 1, 1, 1, 2]);
}

#[test]
fn a_bad_one_is_refused_at_its_gate_and_its_neighbours_are_not() {
    let mut world = world();
    let good = propose(&mut world, &adds("c"));
    let shape = propose(&mut world, &json!([{"op": "remove", "path": "/nodes/9"}]));
    let meaning = propose(&mut world, &json!([{"op": "add", "path": "/edges/-", "value": edge("b", "a")}]));
    let nothing = propose(&mut world, &json!([{"op": "test", "path": "/name", "value": "w"}]));
    let fixed = propose(&mut world, &json!([{"op": "replace", "path": "/version", "value": "2"}]));
    let mut poor = command(&json!([{"op": "add", "path": "/nodes/-",
        "value": {"id": "h", "type": "http", "config": {"method": "GET", "url": "https://evil.example/"}}}]));
    poor.grant = Grant { functions: Allowed::Any, ..Grant::default() };
    let security = id_of(send(&mut world, poor).unwrap());
    let after = propose(&mut world, &json!([{"op": "add", "path": "/edges/-", "value": edge("c", "b")}]));
    materialize(&mut world);
    for (patch, gate, code) in [
        (&shape, "shape", code::PATCH_SHAPE_REFUSED),
        (&meaning, "meaning", code::PATCH_MEANING_REFUSED),
        (&nothing, "meaning", code::PATCH_MEANING_REFUSED),
        (&fixed, "meaning", code::PATCH_MEANING_REFUSED),
        (&security, "security", code::PATCH_SECURITY_REFUSED),
    ] {
        let view = shown(&world, patch);
        assert_eq!(view.status, PatchStatus::Rejected, "{patch}");
        let refused = view.refused.unwrap();
        assert_eq!((refused.gate.as_str(), refused.code.as_str()), (gate, code), "{patch}");
    }
    let details: Value = serde_json::from_slice(&shown(&world, &shape).refused.unwrap().details).unwrap();
    assert_eq!(details["errors"][0]["pointer"], "/0/path");
    for patch in [&good, &after] {
        assert_eq!(shown(&world, patch).status, PatchStatus::Applied);
    }
    assert_eq!(latest(&world).1["edges"].as_array().unwrap().len(), 3);
    assert_eq!(versions(&world), ["1", "1+patches.1"]);
    // The first gate is at the door.
    let refused = send(&mut world, command(&json!({"op": "add"}))).unwrap_err();
    assert_eq!(refused.code, code::PATCH_SHAPE_REFUSED);
    assert_eq!(world.machine.counts().workflow_patches_rejected, 5);
}

#[test]
fn of_places_that_are_too_many_to_record_the_message_says_the_first() {
    for (places, are_kept) in [(2, true), (400, false)] {
        let mut world = world();
        let edges: Vec<Value> = (0..places)
            .map(|n| json!({"op": "add", "path": "/edges/-", "value": edge("a", &format!("nobody{n}"))}))
            .collect();
        let id = propose(&mut world, &json!(edges));
        materialize(&mut world);
        let refused = shown(&world, &id).refused.unwrap();
        assert_eq!(!refused.details.is_empty(), are_kept, "{places}: {} bytes", refused.details.len());
        assert!(refused.message.contains("nobody0"), "{}", refused.message);
    }
}

#[test]
fn a_batch_in_which_all_are_refused_makes_no_version() {
    let mut world = world();
    propose(&mut world, &json!([{"op": "remove", "path": "/nodes/9"}]));
    materialize(&mut world);
    assert_eq!((versions(&world), world.machine.next_due()), (vec!["1".to_owned()], None));
}

#[test]
fn functions_are_those_of_the_process_that_makes_the_batch() {
    let mut world = world();
    let patch = propose(&mut world, &adds("c"));
    world.machine.know_functions(Some(apex_ir::FunctionTable::new()));
    materialize(&mut world);
    let refused = shown(&world, &patch).refused.unwrap();
    assert_eq!(refused.code, code::PATCH_MEANING_REFUSED);
    assert!(refused.message.contains('c'), "{}", refused.message);
    let mut table = apex_ir::FunctionTable::new();
    let spec = apex_ir::FunctionSpec { effect: Some(apex_ir::ir::Effect::Pure), ..apex_ir::FunctionSpec::default() };
    table.insert("c".into(), spec);
    world.machine.know_functions(Some(table));
    propose(&mut world, &adds("c"));
    materialize(&mut world);
    assert_eq!(latest(&world).1["nodes"][2]["effect"], "pure", "as at registration");
}

#[test]
fn after_a_crash_between_any_two_records_the_batch_comes_to_the_same() {
    let mut world = world();
    for n in 0..3 {
        propose(&mut world, &adds(&format!("c{n}")));
    }
    propose(&mut world, &json!([{"op": "remove", "path": "/nodes/9"}]));
    let mut other = command(&timeout(3));
    other.set = "slow".into();
    send(&mut world, other).unwrap();
    let begun = world.log.len();
    materialize(&mut world);
    roll_back(&mut world, "w~w2").unwrap();
    let (whole, views) = (world.log.len(), versions(&world));
    assert_eq!(views, ["1", "1+patches.1", "1+slow.1", "1+patches.2"]);
    let mut chance = Chance(7);
    for keep in begun..whole {
        let mut after = World::new(world.config.clone());
        after.log = world.log[..keep].to_vec();
        after.durable = keep as u64;
        after.now = world.now;
        after.crash(&mut chance);
        after.tick_at(world.now);
        assert_eq!(after.machine.next_due(), None, "cut at {keep}");
        let dropped = shown(&after, "w~w2").status == PatchStatus::RolledBack;
        if !dropped {
            assert_eq!(versions(&after), views[..3], "cut at {keep}");
            roll_back(&mut after, "w~w2").unwrap();
        }
        assert_eq!(versions(&after), views, "cut at {keep}");
        assert_eq!(latest(&after), latest(&world), "cut at {keep}");
    }
}

#[test]
fn a_tag_that_was_moved_meanwhile_stays_and_a_patch_on_a_version_moves_none() {
    let mut world = world();
    world.register(&json!({"name": "w", "version": "2", "nodes": [function("z", json!({}))], "edges": []}).to_string());
    propose(&mut world, &adds("c"));
    tag(&mut world, "main", "2", Vec::new()).unwrap();
    materialize(&mut world);
    assert_eq!(latest(&world).0, "2", "whoever moved it meant it");
    assert_eq!(versions(&world), ["1", "2", "1+patches.1"]);
    let on = |version: &str| PatchWorkflow { selector: Selector::Version(version.into()), ..command(&timeout(9)) };
    send(&mut world, on("1+patches.1")).unwrap();
    send(&mut world, on("2")).unwrap();
    send(&mut world, PatchWorkflow { set: "more".into(), ..on("1+patches.1") }).unwrap();
    materialize(&mut world);
    assert_eq!(
        versions(&world),
        ["1", "2", "1+patches.1", "1+patches.2", "2+patches.1", "1+patches.1+more.1"],
        "a derived version stands for its set, or is the base of another one"
    );
    assert_eq!(latest(&world).0, "2");
    let moved = world.seen.iter().filter(|event| event.name == "WorkflowTagged").count();
    assert_eq!(moved, 2);
}

#[test]
fn a_rollback_is_another_version_and_the_tag_moves_along() {
    let mut world = world();
    let first = propose(&mut world, &adds("c"));
    let second = propose(&mut world, &json!([{"op": "add", "path": "/edges/-", "value": edge("c", "b")}]));
    let third = propose(&mut world, &timeout(9));
    assert_eq!(roll_back(&mut world, &first).unwrap_err().code, code::WRONG_STATE);
    materialize(&mut world);
    let refused = roll_back(&mut world, &first).unwrap_err();
    assert_eq!(refused.code, code::PATCH_CONFLICT);
    assert!(refused.message.contains(&second), "{}", refused.message);
    assert_eq!(roll_back(&mut world, &third).unwrap()["version"], "1+patches.2");
    assert_eq!(latest(&world).0, "1+patches.2");
    assert_eq!(latest(&world).1["nodes"][0].get("timeout_s"), None);
    let view = shown(&world, &third);
    assert_eq!((view.status, view.version.as_str()), (PatchStatus::RolledBack, "1+patches.1"));
    assert_eq!((view.rolled_back_in.as_str(), view.rolled_back_reason.as_str()), ("1+patches.2", "no"));
    let recorded = world.log.len();
    assert_eq!(roll_back(&mut world, &third).unwrap()["version"], "1+patches.2", "the same again");
    assert_eq!(world.log.len(), recorded);
    roll_back(&mut world, &second).unwrap();
    roll_back(&mut world, &first).unwrap();
    let (version, definition) = latest(&world);
    assert_eq!((version.as_str(), definition["nodes"].as_array().unwrap().len()), ("1+patches.4", 2));
    let derived = |version: &str| {
        let view = world.machine.workflow("t", "w", &Selector::Version(version.into())).unwrap();
        view.derived.unwrap().patches
    };
    assert_eq!(derived("1+patches.1"), [first.clone(), second.clone(), third], "what it was made of, it stays");
    assert_eq!(derived("1+patches.2"), [first, second]);
    assert!(derived("1+patches.4").is_empty());
    for unknown in ["w~w9", "nope~w1", "w", "w~p1", "w~w01"] {
        assert_eq!(roll_back(&mut world, unknown).map_err(|r| r.code), Err(code::PATCH_NOT_FOUND), "{unknown}");
    }
}

#[test]
fn a_rollback_takes_no_approval_away_that_its_author_may_not_take_away() {
    let mut world = world();
    let guard = propose(
        &mut world,
        &json!([{"op": "add", "path": "/nodes/-", "value": {"id": "ask", "type": "approval", "config": {"prompt": "?"}}},
            {"op": "remove", "path": "/edges/0"}, {"op": "add", "path": "/edges/-", "value": edge("a", "ask")},
            {"op": "add", "path": "/edges/-", "value": edge("ask", "b")}]),
    );
    let other = propose(&mut world, &timeout(9));
    materialize(&mut world);
    let refused = roll_back_as(&mut world, &guard, Grant::default()).unwrap_err();
    assert_eq!(refused.code, code::PATCH_SECURITY_REFUSED);
    assert!(refused.message.contains("b would begin without the approval ask"), "{}", refused.message);
    assert_eq!(latest(&world).0, "1+patches.1");
    assert_eq!(roll_back_as(&mut world, &other, Grant::default()).unwrap()["version"], "1+patches.2");
    assert_eq!(roll_back(&mut world, &guard).unwrap()["version"], "1+patches.3");
}

#[test]
fn what_a_command_says_is_checked_and_a_key_gives_the_same_answer() {
    let mut world = world();
    let keyed = PatchWorkflow { idempotency_key: "k".into(), ..command(&adds("c")) };
    let first = send(&mut world, keyed.clone()).unwrap();
    let again = send(&mut world, keyed.clone()).unwrap();
    assert!(!first.existing && again.existing);
    assert_eq!(first.details, again.details);
    materialize(&mut world);
    assert!(send(&mut world, keyed.clone()).unwrap().existing, "also when it is applied");
    let refused = send(&mut world, PatchWorkflow { reason: "another".into(), ..keyed }).unwrap_err();
    assert_eq!(refused.code, code::IDEMPOTENCY_KEY_REUSED);
    let on = |selector| PatchWorkflow { selector, ..command(&adds("d")) };
    for selector in [Selector::Version("9".into()), Selector::Tag("nope".into())] {
        assert_eq!(send(&mut world, on(selector)).unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    }
    let named = |set: &str| PatchWorkflow { set: set.into(), ..command(&adds("d")) };
    for set in ["a.b", "a+b", "ü", &"x".repeat(65)] {
        assert_eq!(send(&mut world, named(set)).unwrap_err().code, code::VALUE_INVALID, "{set}");
    }
}

#[test]
fn everything_is_bounded() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.workflow_patches_waiting_max = 3;
    config.limits.patches_per_set_max = 2;
    config.limits.patch_sets_per_workflow_max = 2;
    config.limits.workflow_patches_refused_max = 1;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    let ids = [1, 2, 3].map(|n| propose(&mut world, &timeout(n)));
    let refused = send(&mut world, command(&timeout(4))).unwrap_err();
    assert!(refused.message.contains("workflow_patches_waiting_max"), "{}", refused.message);
    materialize(&mut world);
    let over = shown(&world, &ids[2]).refused.unwrap();
    assert_eq!((over.gate.as_str(), over.code.as_str()), ("limit", code::LIMIT_EXCEEDED));
    assert!(over.message.contains("patches_per_set_max"), "{}", over.message);
    assert_eq!(world.machine.counts().workflow_patches_rejected, 1);
    let bad = propose(&mut world, &json!([{"op": "remove", "path": "/nodes/9"}]));
    materialize(&mut world);
    assert!(world.machine.workflow_patch("t", &ids[2]).is_none(), "the oldest refused one leaves");
    assert_eq!(shown(&world, &bad).status, PatchStatus::Rejected);
    let named = |set: &str| PatchWorkflow { set: set.into(), ..command(&adds("d")) };
    send(&mut world, named("one")).unwrap();
    assert_eq!(send(&mut world, named("two")).unwrap_err().code, code::LIMIT_EXCEEDED);
    // Versions, too: a batch that would make one more is refused.
    let mut config = world.config.clone();
    config.limits.workflows_per_tenant_max = 1;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    let patch = propose(&mut world, &timeout(1));
    materialize(&mut world);
    assert!(shown(&world, &patch).refused.unwrap().message.contains("workflows_per_tenant_max"));
}

#[test]
fn a_bound_lets_through_what_just_fits() {
    let bounded = |limit: &str, value: usize| {
        let mut config = Config { partitions: 4, ..Config::default() };
        assert!(config.limits.set(limit, value as i64), "{limit}");
        let mut world = World::new(config);
        world.register(
            &json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string(),
        );
        world
    };
    // What became of the patches that were sent until one was refused: by the command, or when it was judged.
    let taken = |limit: &str, value: usize, patches: &[Value]| {
        let mut world = bounded(limit, value);
        for (n, operations) in patches.iter().enumerate() {
            let refusal = match send(&mut world, command(operations)) {
                Err(refusal) => Some(refusal.message),
                Ok(answer) => {
                    materialize(&mut world);
                    shown(&world, &id_of(answer)).refused.map(|refused| refused.message)
                }
            };
            if let Some(message) = refusal {
                assert!(message.contains(limit), "{message}");
                return n;
            }
        }
        patches.len()
    };
    let three = [timeout(1), timeout(2), timeout(3)];
    let patch_bytes = three[0].to_string().len();
    let mut world = bounded("items_max", 1);
    propose(&mut world, &three[0]);
    materialize(&mut world);
    let accepted = world.seen.iter().find(|event| event.name == "WorkflowPatchAccepted").unwrap();
    let set_bytes = patch_bytes + accepted.payload["operations"].to_string().len();
    let view = world.machine.workflow("t", "w", &Selector::Latest).unwrap();
    let definition_bytes = view.definition.len() - "+patches.1".len();

    assert_eq!(taken("patches_per_set_max", 2, &three), 2);
    assert_eq!(taken("workflows_max", 3, &three), 2, "the base is a version, too");
    assert_eq!(taken("workflows_per_tenant_max", 3, &three), 2);
    assert_eq!(taken("patch_set_bytes_max", 2 * set_bytes, &three), 2);
    assert_eq!(taken("patch_set_bytes_max", 2 * set_bytes - 1, &three), 1);
    assert_eq!(taken("definition_bytes_max", definition_bytes, &three[..1]), 1);
    assert_eq!(taken("definition_bytes_max", definition_bytes - 1, &three[..1]), 0);
    let nodes: Vec<Value> = ["c", "d"].iter().map(|id| adds(id)[0].clone()).collect();
    assert_eq!(taken("patch_nodes_max", 2, &[json!(nodes)]), 1);
    assert_eq!(taken("patch_nodes_max", 1, &[json!(nodes)]), 0);
    let mut world = bounded("workflow_patches_waiting_bytes_max", 2 * patch_bytes);
    let sent = three.map(|operations| send(&mut world, command(&operations)).is_ok());
    assert_eq!(sent, [true, true, false], "both wait");
    materialize(&mut world);
    propose(&mut world, &timeout(4));
}

#[test]
fn a_patch_has_so_many_bytes() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.patch_bytes_max = timeout(1).to_string().len();
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    send(&mut world, command(&timeout(1))).unwrap();
    assert_eq!(send(&mut world, command(&timeout(10))).unwrap_err().code, code::PATCH_SHAPE_REFUSED);
}

#[test]
fn patches_of_two_workflows_that_are_due_together_do_not_mix() {
    let mut world = world();
    world.register(&json!({"name": "x", "version": "1", "nodes": [function("y", json!({}))], "edges": []}).to_string());
    let on_x = |node: Value| PatchWorkflow { name: "x".into(), ..command(&json!([node])) };
    let adds_to_x = |id: &str| on_x(json!({"op": "add", "path": "/nodes/-", "value": function(id, json!({}))}));
    send(&mut world, adds_to_x("p")).unwrap();
    propose(&mut world, &adds("c"));
    materialize(&mut world);
    send(&mut world, adds_to_x("q")).unwrap();
    propose(&mut world, &adds("d"));
    materialize(&mut world);
    let nodes = |name: &str| -> Vec<String> {
        let view = world.machine.workflow("t", name, &Selector::Latest).unwrap();
        let definition: Value = serde_json::from_slice(&view.definition).unwrap();
        definition["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(nodes("x"), ["y", "p", "q"]);
    assert_eq!(nodes("w"), ["a", "b", "c", "d"]);
    let moved = |name: &str| world.machine.workflow("t", name, &Selector::Latest).unwrap().version.to_string();
    assert_eq!((moved("x"), moved("w")), ("1+patches.2".to_owned(), "1+patches.2".to_owned()));
}

#[test]
fn the_names_of_versions_of_a_set_have_an_end() {
    let mut world = world();
    let named = |base: &str, set: &str| {
        let selector = Selector::Version(base.into());
        PatchWorkflow { selector, set: set.into(), ..command(&adds("d")) }
    };
    let set = "Aa_-9".repeat(12) + "long";
    assert_eq!(set.len(), 64);
    send(&mut world, named("1", &set)).unwrap();
    for (bytes, is_taken) in [(52, true), (53, false)] {
        let base = "v".repeat(bytes);
        let definition = json!({"name": "w", "version": base, "nodes": [function("a", json!({}))], "edges": []});
        world.register(&definition.to_string());
        let outcome = send(&mut world, named(&base, &set));
        assert_eq!(
            outcome.map(drop).map_err(|refusal| refusal.code),
            if is_taken { Ok(()) } else { Err(code::VALUE_INVALID) }
        );
    }
    materialize(&mut world);
    let longest = versions(&world).iter().map(String::len).max().unwrap();
    assert_eq!(longest, 52 + 1 + 64 + 1 + 1, "a generation has ten digits at most");
}

#[test]
fn a_version_with_the_name_of_the_next_one_is_passed_over() {
    let mut world = world();
    let definition = json!({"name": "w", "version": "1+patches.1", "nodes": [function("z", json!({}))], "edges": []});
    world.register(&definition.to_string());
    propose(&mut world, &adds("c"));
    materialize(&mut world);
    assert_eq!(latest(&world).0, "1+patches.2");
}

#[test]
fn a_list_goes_page_by_page_newest_first() {
    let mut world = world();
    (0..5).for_each(|n| drop(propose(&mut world, &timeout(1 + n))));
    send(&mut world, PatchWorkflow { set: "other".into(), ..command(&timeout(9)) }).unwrap();
    let ids = |page: &apex_machine::view::Page<WorkflowPatchView>| -> Vec<String> {
        page.items.iter().map(|view| view.patch_id.clone()).collect()
    };
    let page = world.machine.workflow_patches("t", "w", "1+patches", 3, "");
    assert_eq!(ids(&page), ["w~w5", "w~w4", "w~w3"]);
    let page = world.machine.workflow_patches("t", "w", "1+patches", 3, &page.next);
    assert_eq!((ids(&page), page.next.as_str()), (vec!["w~w2".to_owned(), "w~w1".to_owned()], ""));
    assert_eq!(ids(&world.machine.workflow_patches("t", "w", "", 1, "")), ["w~w6"]);
    assert!(world.machine.workflow_patches("other", "w", "", 9, "").items.is_empty(), "invariant 9");
}

/// A world whose `main` is 1 and gives a part of its starts to 2.
fn tested(share: u32) -> World {
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}));
    world.register(&json!({"name": "w", "version": "2", "nodes": [function("b", json!({}))], "edges": []}).to_string());
    assert!(!tag(&mut world, "main", "1", vec![arm("2", share)]).unwrap().existing);
    world
}

#[test]
fn a_share_of_the_starts_runs_another_version_and_each_says_so() {
    let mut world = tested(300);
    world.compares = false;
    world.follows = false;
    let mut of_arm = 0;
    for n in 0..1_000 {
        let mut command = world.start_command("w", n, "", "{}");
        command.run_id = apex_machine::RunId::new_v7(1_000 + n, 0, n * 7_919);
        let run = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap().run_id.unwrap();
        let view = world.view(&run);
        let (tag, arm) = view.drawn.unwrap();
        assert_eq!((tag.as_str(), arm == "control"), ("main", &*view.version == "1"));
        assert_eq!(last(&world, &run, "RunStarted")["arm"], arm);
        of_arm += usize::from(arm == "2");
    }
    assert!((250..350).contains(&of_arm), "{of_arm} of 1000 where 300 are expected");
    let view = world.machine.arms("t", "w", "main").unwrap();
    assert_eq!(
        view.arms.iter().map(|arm| (arm.arm.as_str(), arm.share)).collect::<Vec<_>>(),
        [("control", 700), ("2", 300)]
    );
    assert_eq!(view.arms.iter().map(|arm| arm.started).collect::<Vec<_>>(), [1_000 - of_arm as u64, of_arm as u64]);
    // Who names a version gets it, and is not counted.
    let mut command = world.start_command("w", 5_000, "", "{}");
    command.selector = Selector::Version("1".into());
    let run = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap().run_id.unwrap();
    assert_eq!(world.view(&run).drawn, None);
}

#[test]
fn what_became_of_the_runs_of_an_arm_is_counted_and_survives() {
    let mut world = tested(1_000);
    for n in 0..5 {
        let run = world.start("w", n, "{}");
        let job = world.job("b");
        world.now += 4 * SECOND;
        match n {
            0 => drop(world.cancel(run)),
            1 => world.fail("b", "Broken"),
            4 => {}
            _ => world.answer(&job, apex_machine::command::Outcome::Ok(b"1".to_vec())),
        }
        if n == 0 {
            world.answer(&job, apex_machine::command::Outcome::Cancelled { message: String::new() });
        }
    }
    let counted = |machine: &Machine| {
        let view = machine.arms("t", "w", "main").unwrap();
        let arm = &view.arms[1];
        (arm.started, arm.completed, arm.failed, arm.cancelled, arm.duration_sum_ns, arm.duration_quantiles_ns)
    };
    let (started, completed, failed, cancelled, sum, quantiles) = counted(&world.machine);
    assert_eq!((started, completed, failed, cancelled), (5, 2, 1, 1));
    assert_eq!(sum, 8 * SECOND as u64);
    let middle = quantiles[0].unwrap();
    assert!(middle.abs_diff(4 * SECOND as u64) < SECOND as u64 / 2, "{middle}");
    let before = counted(&world.machine);
    world.crash(&mut Chance(1));
    assert_eq!(counted(&world.machine), before);
    // The same arms again go on with the test; others begin another one, which ended runs of this one do not count for.
    assert!(tag(&mut world, "main", "1", vec![arm("2", 1_000)]).unwrap().existing);
    assert!(!tag(&mut world, "main", "1", vec![arm("2", 500)]).unwrap().existing);
    world.ok("b", "1");
    assert_eq!(counted(&world.machine).0, 0);
    assert_eq!(counted(&world.machine).1, 0);
    assert!(!tag(&mut world, "main", "1", Vec::new()).unwrap().existing);
    let view = world.machine.arms("t", "w", "main").unwrap();
    assert_eq!((view.began_ns, view.arms.len()), (None, 0));
    assert!(world.machine.arms("t", "w", "nope").is_none());
}

#[test]
fn an_arm_follows_its_patch_set_and_a_batch_does_not_end_the_test() {
    let mut world = world();
    let in_set = |operations: &Value| PatchWorkflow {
        set: "try".into(),
        selector: Selector::Version("1".into()),
        ..command(operations)
    };
    let set = |share| vec![Arm { runs: Runs::Set("try".into()), share }];
    assert_eq!(tag(&mut world, "main", "1", set(1_000)).unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    send(&mut world, in_set(&adds("c"))).unwrap();
    materialize(&mut world);
    tag(&mut world, "main", "1", set(1_000)).unwrap();
    let run = world.start("w", 1, "{}");
    assert_eq!(
        (&*world.view(&run).version, world.view(&run).drawn),
        ("1+try.1", Some(("main".into(), "1+try".into())))
    );
    send(&mut world, in_set(&adds("d"))).unwrap();
    propose(&mut world, &timeout(3));
    materialize(&mut world);
    assert_eq!(latest(&world).0, "1+patches.1", "the tag itself moved");
    let run = world.start("w", 2, "{}");
    assert_eq!(&*world.view(&run).version, "1+try.2");
    let view = world.machine.arms("t", "w", "main").unwrap();
    let arms: Vec<_> = view.arms.iter().map(|arm| (arm.version.as_str(), arm.set.as_str(), arm.started)).collect();
    assert_eq!(arms, [("1+patches.1", "", 0), ("1+try.2", "try", 2)]);
    // Registering with the tag means that version, for all.
    let definition = json!({"name": "w", "version": "3", "nodes": [function("z", json!({}))], "edges": []}).to_string();
    let (tenant, definition, tag) = ("t".into(), definition.into_bytes(), Some("main".into()));
    world.ask(Command::RegisterWorkflow(RegisterWorkflow { tenant, definition, tag })).outcome.unwrap();
    assert!(world.machine.arms("t", "w", "main").unwrap().arms.is_empty());
}

#[test]
fn arms_that_cannot_be_are_refused() {
    let mut world = tested(1);
    for arms in [
        vec![arm("2", 0)],
        vec![arm("2", 1_001)],
        vec![arm("2", 1), arm("2", 1)],
        vec![arm("1", 1)],
        vec![arm("2", 600), arm("1", 600)],
    ] {
        assert_eq!(tag(&mut world, "main", "1", arms.clone()).unwrap_err().code, code::VALUE_INVALID, "{arms:?}");
    }
    assert_eq!(tag(&mut world, "main", "1", vec![arm("9", 1)]).unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    let many = (0..11).map(|_| arm("2", 1)).collect();
    assert_eq!(tag(&mut world, "main", "1", many).unwrap_err().code, code::LIMIT_EXCEEDED);
}

#[test]
fn a_tenant_that_is_erased_takes_its_patches_along() {
    let mut world = world();
    propose(&mut world, &adds("c"));
    let erase = apex_machine::command::Erase { tenant: "t".into(), run_id: None, by: String::new() };
    world.ask(Command::Erase(erase)).outcome.unwrap();
    assert_eq!((world.machine.next_due(), world.machine.counts().workflow_patches_waiting), (None, 0));
    assert!(names(&world).contains(&"WorkflowPatchProposed"));
    materialize(&mut world);
    assert!(versions(&world).is_empty());
}

#[test]
fn a_policy_for_the_kind_of_author_is_obeyed() {
    let mut world = world();
    let operations = json!([{"op": "replace", "path": "/nodes/1/timeout_s", "value": 9}]);
    let by = |author: &str, policy| PatchWorkflow { author: author.into(), policy, ..command(&operations) };
    for (author, policy, said) in [
        ("me", PatchPolicy::Refuse, "kind client are refused here (patches.client_policy)"),
        ("me", PatchPolicy::Approve, "waits for nobody"),
        ("optimizer:p@h", PatchPolicy::Refuse, "patches.optimizer_policy"),
        ("optimizer:p@h", PatchPolicy::Approve, "a person takes what a pass proposes"),
    ] {
        let refusal = send(&mut world, by(author, policy)).unwrap_err();
        assert_eq!(refusal.code, code::PATCH_SECURITY_REFUSED);
        assert!(refusal.message.contains(said), "{}", refusal.message);
    }
    assert!(send(&mut world, by("me", PatchPolicy::Apply)).is_ok());
}

#[test]
fn what_is_being_judged_does_not_fill_the_next_batch() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.patch_batch_max = 2;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    for n in 1..3 {
        propose(&mut world, &timeout(n));
    }
    // Of the two the second is not judged yet when the third comes.
    world.settle(vec![(0, Command::Tick), (0, Command::PatchWorkflow(Box::new(command(&timeout(3)))))]);
    let (late, judged) = ("w~w3", ["WorkflowPatchAccepted", "WorkflowPatchProposed", "WorkflowPatchAccepted"]);
    assert!(names(&world).windows(3).any(|three| three == judged), "{:?}", names(&world));
    assert_eq!(versions(&world), ["1", "1+patches.1"]);
    assert_eq!(shown(&world, late).status, PatchStatus::Pending, "it is the first of its batch");
    assert_eq!(world.machine.next_due(), Some(world.now + 5 * SECOND));
}

#[test]
fn bytes_that_wait_are_those_of_the_patches_that_wait() {
    let patch_bytes = timeout(1).to_string().len();
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.workflow_patches_waiting_bytes_max = 2 * patch_bytes + 5;
    config.limits.patch_batch_max = 1;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    propose(&mut world, &timeout(1));
    propose(&mut world, &timeout(2));
    // The first of them is judged, then there is room for one more.
    let more = [3, 4].map(|n| (1_000 + n, Command::PatchWorkflow(Box::new(command(&timeout(n))))));
    world.settle(std::iter::once((0, Command::Tick)).chain(more).collect());
    let taken = |token: u64| world.replies.iter().any(|reply| reply.token == token && reply.outcome.is_ok());
    assert_eq!((taken(1_003), taken(1_004)), (true, false));
}
