use crate::world::World;
use crate::{edge, function, last};
use apex_machine::command::{Command, Goal, Outcome, RegisterWorkflow, ResolveApproval};
use apex_machine::error::code;
use apex_machine::{Config, RunId, RunState};
use serde_json::json;

fn limited(set: &[(&str, i64)], nodes: serde_json::Value) -> World {
    let mut config = Config { partitions: 4, ..Config::default() };
    for (name, value) in set {
        assert!(config.limits.set(name, *value), "{name}");
    }
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "edges": [], "nodes": nodes}).to_string());
    world
}

#[test]
fn over_a_bound_a_start_is_refused_by_name() {
    let mut world = limited(
        &[("runs_open_max", 1), ("inputs_bytes_max", 20), ("name_bytes_max", 30)],
        json!([function("a", json!({}))]),
    );
    let mut long = world.start_command("w", 1, "", "{}");
    long.correlation = "x".repeat(31);
    let large = world.start_command("w", 1, "", "{\"x\":\"0123456789abcdefghij\"}");
    for command in [long, large] {
        let refused = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap_err();
        assert_eq!(refused.code, code::LIMIT_EXCEEDED);
    }
    // A goal counts with the inputs.
    for ([text, entities, plan], fits) in
        [([18, 0, 0], true), ([19, 0, 0], false), ([1, 8, 9], true), ([1, 9, 9], false), ([1, 0, 18], false)]
    {
        let mut command = world.start_command("w", 9, "", "{}");
        let digits = |count| vec![b'1'; count];
        let (text, source, template) = ("x".repeat(text), "cache".into(), String::new());
        command.goal = Some(Goal { text, source, template, entities: digits(entities), plan: digits(plan) });
        command.run_id = RunId::new_v7(9_000, 0, (entities + plan) as u64);
        match world.ask(Command::StartRun(Box::new(command))).outcome {
            Ok(_) if fits => world.ok("a", "1"),
            outcome => assert_eq!(outcome.unwrap_err().message, "over inputs_bytes_max (20)"),
        }
    }
    world.start("w", 1, "{}");
    let command = world.start_command("w", 2, "", "{}");
    let refused = world.ask(Command::StartRun(Box::new(command))).outcome.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (code::LIMIT_EXCEEDED, "over runs_open_max (1)"));
    world.ok("a", "1");
    world.start("w", 3, "{}");
}

#[test]
fn large_definitions_that_are_compiled_do_not_share_a_turn() {
    let nodes: Vec<serde_json::Value> = (0..10).map(|i| function(&format!("n{i}"), json!({}))).collect();
    let mut world = limited(&[("events_per_turn_max", 30)], json!(nodes));
    let register = |name: &str| {
        let definition = json!({"name": name, "version": "1", "nodes": nodes}).to_string().into_bytes();
        (0, Command::RegisterWorkflow(RegisterWorkflow { tenant: "t".into(), definition, tag: None }))
    };
    let turns = [world.turn(vec![register("v"), register("x")]), world.turn(vec![])];
    assert_eq!(turns, [(2, true), (2, false)], "a version and its tag in each: ten nodes count for forty records");
}

#[test]
fn a_fan_out_goes_on_over_many_turns_and_new_commands_are_not_held_up() {
    let map = json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}", "max_concurrency": 1000,
        "body": {"nodes": [function("f", json!({}))], "edges": []}}});
    let mut world = limited(&[("events_per_turn_max", 20), ("events_per_visit_max", 5)], json!([map]));
    world.compares = false;
    world.register(
        &json!({"name": "small", "version": "1", "edges": [], "nodes": [function("a", json!({}))]}).to_string(),
    );
    let list: Vec<u32> = (0..300).collect();
    let big = world.start_command("w", 1, "", &json!({"list": list}).to_string());
    let (count, more) = world.turn(vec![(0, Command::StartRun(Box::new(big)))]);
    assert!(count <= 22 && more);
    let small = world.start_command("small", 2, "", "{}");
    let small_run = small.run_id;
    let (count, more) = world.turn(vec![(0, Command::StartRun(Box::new(small)))]);
    assert!(count <= 22 && more);
    assert_eq!(world.names(&small_run), ["RunStarted", "ToolCallRequested"], "one turn was enough for it");
    world.settle(vec![]);
    assert_eq!(world.jobs.len(), 301);
}

#[test]
fn too_many_items_fail_the_map() {
    let map = json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}",
        "body": {"nodes": [function("f", json!({}))], "edges": []}}});
    let mut world = limited(&[("items_max", 3)], json!([map]));
    let run = world.start("w", 1, "{\"list\":[1,2,3,4]}");
    assert_eq!(crate::last(&world, &run, "WorkflowFailed")["error"]["type"], "LimitExceeded");
}

#[test]
fn ended_runs_leave_the_list_oldest_first() {
    let mut world = limited(&[("runs_ended_max", 2)], json!([function("a", json!({}))]));
    let runs: Vec<_> = (1..5)
        .map(|n| {
            let run = world.start("w", n, "{}");
            world.ok("a", "1");
            run
        })
        .collect();
    assert!(world.machine.run("t", &runs[1]).is_none());
    assert_eq!(world.state(&runs[2]), RunState::Completed);
    assert_eq!(world.machine.counts().runs_ended, 2);
}

#[test]
fn a_run_set_aside_is_not_touched_and_the_others_go_on() {
    let mut world = limited(&[], json!([function("a", json!({}))]));
    let (one, two) = (world.start("w", 1, "{}"), world.start("w", 2, "{}"));
    world.machine.quarantine(&one);
    assert!(world.view(&one).quarantined);
    assert_eq!(world.cancel(one).outcome.unwrap_err().code, code::INTERNAL);
    for job in world.jobs.values().cloned().collect::<Vec<_>>() {
        world.answer(&job, apex_machine::command::Outcome::Ok(b"1".to_vec()));
    }
    assert_eq!((world.state(&one), world.state(&two)), (RunState::Running, RunState::Completed));
    assert_eq!(world.machine.counts().runs_quarantined, 1);
}

#[test]
fn a_limit_is_set_by_its_name() {
    let mut limits = apex_machine::Limits::default();
    assert!(limits.set("items_max", 5) && limits.items_max == 5);
    assert!(!limits.set("items_max", 0) && !limits.set("items_max", i64::MAX) && !limits.set("nope", 1));
}

/// The largest record of a world.
fn largest(world: &World) -> usize {
    world.log.iter().map(Vec::len).max().unwrap()
}

#[test]
fn no_record_is_larger_than_its_bound() {
    // A client may send a quarter of it, as by default.
    let bounds = [
        ("record_bytes_max", 4_096),
        ("inputs_bytes_max", 1_024),
        ("result_bytes_max", 1_024),
        ("rendered_bytes_max", 1_024),
    ];
    let mut config = Config { partitions: 4, ..Config::default() };
    for (name, value) in bounds {
        assert!(config.limits.set(name, value), "{name}");
    }
    let mut world = World::new(config);
    let body = json!({"nodes": [function("f", json!({}))], "edges": []});
    world.register(
        &json!({"name": "w", "version": "1", "edges": [{"from": "g", "to": "z"}, {"from": "b", "to": "z"}], "nodes": [
            {"id": "m", "type": "map", "config": {"over": "${inputs.list}", "body": body}},
            {"id": "g", "type": "approval", "config": {"prompt": "?"}},
            function("b", json!({})),
            function("z", json!({"input": {"a": "${nodes.g.output.edits.x}", "b": "${nodes.b.output.x}"}}))]})
        .to_string(),
    );
    let text = "x".repeat(1_000);
    let run = world.start("w", 1, &json!({"list": [text]}).to_string());
    world.ok("b", &json!({"x": text}).to_string());
    let ticket = format!("{run}~g");
    let edits = Some(json!({"x": text}).to_string().into_bytes());
    let (by, reason) = ("me".into(), "so".into());
    let command = ResolveApproval { tenant: "t".into(), ticket, approve: true, reason, edits, by };
    world.ask(Command::ResolveApproval(command)).outcome.unwrap();
    assert!(largest(&world) > 3_000 && largest(&world) <= 4_096, "{}", largest(&world));
}

#[test]
fn what_a_saga_says_in_one_record_is_bounded() {
    let map = json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}", "max_concurrency": 1000, "body": {"edges": [],
        "nodes": [function("f", json!({"compensation": {"name": "u", "input": {}}}))]}}});
    let bounds = [("record_bytes_max", 4_096)];
    let start = |n: usize| {
        let mut world = limited(&bounds, json!([map.clone()]));
        world.compares = false;
        let list: Vec<usize> = (0..n).collect();
        let run = world.start("w", 1, &json!({"list": list}).to_string());
        (world, run)
    };
    let (mut world, run) = start(40);
    for n in 0..39 {
        world.ok(&format!("m[{n}].f"), "1");
    }
    world.crash(&mut crate::world::Chance(1));
    world.fail("m[39].f", "Odd");
    while let Some(job) = world.jobs.values().next().cloned() {
        let message = "é".repeat(250);
        world.answer(&job, Outcome::Failed { kind: "Odd".into(), message, retryable: Some(false) });
    }
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(last(&world, &run, "WorkflowFailed")["compensation_results"].as_array().unwrap().len(), 39);
    assert!(largest(&world) <= 4_096, "{}", largest(&world));
    let (world, run) = start(60);
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(world.view(&run).error.map(|e| String::from_utf8(e).unwrap().contains("LimitExceeded")), Some(true));
}

#[test]
fn as_much_to_undo_as_records_can_name_is_let_through_and_no_more() {
    let undoable = |n: usize| function(&format!("n{n}"), json!({"compensation": {"name": "u", "input": {}}}));
    for (nodes, state) in [(3, RunState::Completed), (4, RunState::Failed)] {
        // Each takes 42 bytes: 40, and its path.
        let mut world =
            limited(&[("record_bytes_max", 2 * 3 * 42)], json!((0..nodes).map(undoable).collect::<Vec<_>>()));
        let run = world.start("w", 1, "{}");
        while let Some(job) = world.jobs.values().next().cloned() {
            world.answer(&job, Outcome::Ok(b"1".to_vec()));
        }
        assert_eq!(world.state(&run), state, "{nodes} nodes");
    }
    // What a snapshot does not say is counted again where one is read.
    for seed in 0..32 {
        let nodes: Vec<_> = (0..4).map(undoable).collect();
        let edges: Vec<_> = (0..3).map(|n| edge(&format!("n{n}"), &format!("n{}", n + 1))).collect();
        let mut world = limited(&[("record_bytes_max", 2 * 3 * 42)], json!([function("a", json!({}))]));
        world.register(&json!({"name": "row", "version": "1", "edges": edges, "nodes": nodes}).to_string());
        let run = world.start("row", 1, "{}");
        for n in 0..3 {
            world.crash(&mut crate::world::Chance(3 * seed + n));
            world.settle(vec![]);
            world.ok(&format!("n{n}"), "1");
        }
        assert_eq!(world.state(&run), RunState::Compensating, "the fourth one does not begin");
    }
}

#[test]
fn a_message_that_is_long_is_cut_where_a_letter_ends() {
    let cases = [("x".repeat(480), "x".repeat(480)), ("x".repeat(481), "x".repeat(480) + "…")];
    let long = "x".to_owned() + &"é".repeat(240);
    let cut = "x".to_owned() + &"é".repeat(239) + "…";
    for (message, shown) in cases.into_iter().chain([(long, cut)]) {
        let mut world = limited(&[("name_bytes_max", 30)], json!([function("a", json!({}))]));
        let run = world.start_command("w", 1, "", "{}");
        let run = world.ask(Command::StartRun(Box::new(run))).outcome.unwrap().run_id.unwrap();
        let job = world.job("a");
        world.answer(&job, Outcome::Failed { kind: "Odd".into(), message, retryable: Some(false) });
        assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["message"], shown);
    }
}

#[test]
fn outputs_of_items_do_not_pile_up_and_nested_maps_share_the_scopes() {
    let body = json!({"nodes": [function("f", json!({}))], "edges": [], "output": "${nodes.f.output}"});
    let map = |over: &str, body: &serde_json::Value, id: &str| json!({"id": id, "type": "map", "config": {"over": over, "body": body, "max_concurrency": 1000, "on_item_error": "skip"}});
    let mut world = limited(&[("result_bytes_max", 100)], json!([map("${inputs.list}", &body, "m")]));
    let run = world.start("w", 1, "{\"list\":[1,2,3,4,5]}");
    let text = format!("\"{}\"", "x".repeat(40));
    world.ok("m[0].f", &text);
    world.ok("m[4].f", &text);
    world.crash(&mut crate::world::Chance(1));
    world.ok("m[2].f", &text);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "LimitExceeded");

    let inner = json!({"nodes": [map("${inputs.list}", &body, "i")], "edges": []});
    let mut world = limited(&[("scopes_per_run_max", 30)], json!([map("${inputs.list}", &inner, "m")]));
    let run = world.start("w", 1, "{\"list\":[1,2,3,4,5,6,7,8,9,10]}");
    for _ in 0..100 {
        let Some(job) = world.jobs.values().next().cloned() else { break };
        world.answer(&job, Outcome::Ok(b"1".to_vec()));
    }
    let opened = world.names(&run).iter().filter(|name| **name == "ScopeOpened").count();
    assert!(opened < 30, "{opened}");
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["type"], "LimitExceeded");
}

#[test]
fn keys_whose_time_is_over_do_not_refuse_a_start() {
    let mut world =
        limited(&[("idempotency_keys_max", 1), ("idempotency_ttl_ns", 10)], json!([function("a", json!({}))]));
    let start = |world: &mut World, n: u64, key: &str| {
        let command = world.start_command("w", n, key, "{}");
        world.ask(Command::StartRun(Box::new(command))).outcome
    };
    start(&mut world, 1, "k1").unwrap();
    assert_eq!(start(&mut world, 2, "k2").unwrap_err().code, code::LIMIT_EXCEEDED);
    world.ok("a", "1");
    world.now += 11;
    start(&mut world, 3, "k3").unwrap();
    assert_eq!(world.machine.counts().idempotency_keys, 1);
}

#[test]
fn a_tenant_is_bounded_by_itself() {
    let nodes = json!([function("a", json!({}))]);
    let mut world = limited(
        &[
            ("idempotency_keys_per_tenant_max", 1),
            ("idempotency_ttl_ns", 10),
            ("workflows_per_tenant_max", 2),
            ("runs_open_per_tenant_max", 3),
        ],
        nodes.clone(),
    );
    let register = |world: &mut World, tenant: &str, version: &str| {
        let definition = json!({"name": "w", "version": version, "edges": [], "nodes": nodes}).to_string().into_bytes();
        let tenant = tenant.to_owned();
        let command = apex_machine::command::RegisterWorkflow { tenant, definition, tag: None };
        world.ask(Command::RegisterWorkflow(command)).outcome
    };
    register(&mut world, "t", "2").unwrap();
    assert!(register(&mut world, "t", "3").unwrap_err().message.contains("workflows_per_tenant_max"));
    register(&mut world, "t", "2").unwrap();
    register(&mut world, "other", "1").unwrap();
    let start = |world: &mut World, tenant: &str, n: u64, key: &str| {
        let mut command = world.start_command("w", n, key, "{}");
        command.tenant = tenant.into();
        world.ask(Command::StartRun(Box::new(command))).outcome
    };
    let first = start(&mut world, "t", 1, "k1").unwrap().run_id.unwrap();
    assert!(start(&mut world, "t", 2, "k2").unwrap_err().message.contains("idempotency_keys_per_tenant_max"));
    start(&mut world, "other", 3, "k1").unwrap();
    start(&mut world, "t", 4, "").unwrap();
    start(&mut world, "t", 5, "").unwrap();
    assert!(start(&mut world, "t", 6, "").unwrap_err().message.contains("runs_open_per_tenant_max"));
    start(&mut world, "other", 7, "").unwrap();
    // A key whose time is over leaves with the start that needs its place, also where nothing else happens.
    let job = world.jobs.values().find(|job| job.run_id == first).unwrap().clone();
    world.answer(&job, Outcome::Ok(b"1".to_vec()));
    world.now += 11;
    start(&mut world, "t", 8, "k3").unwrap();
}

#[test]
fn over_workflows_max_another_version_is_refused_and_the_same_one_again_is_not() {
    let mut world = limited(&[("workflows_max", 2)], json!([function("a", json!({}))]));
    let mut register = |version: &str| {
        let definition = json!({"name": "w", "version": version, "edges": [], "nodes": [function("a", json!({}))]});
        let definition = definition.to_string().into_bytes();
        let command = apex_machine::command::RegisterWorkflow { tenant: "t".into(), definition, tag: None };
        world.ask(Command::RegisterWorkflow(command)).outcome
    };
    assert!(register("2").is_ok() && register("2").is_ok());
    assert_eq!(register("3").unwrap_err().code, code::LIMIT_EXCEEDED);
}

#[test]
fn programs_are_kept_up_to_a_number_and_what_is_not_kept_is_compiled_again() {
    let mut world = limited(&[("programs_max", 2)], json!([function("a", json!({}))]));
    assert_eq!(world.machine.counts().programs_cached, 1);
    for name in ["x", "y"] {
        let definition = json!({"name": name, "version": "1", "edges": [], "nodes": [function("a", json!({}))]});
        world.register(&definition.to_string());
        assert_eq!(world.machine.counts().programs_cached, 2);
    }
    let run = world.start("w", 1, "{}");
    assert_eq!(world.machine.counts().programs_cached, 2);
    world.ok("a", "1");
    assert_eq!(world.state(&run), RunState::Completed);
}

#[test]
fn an_expression_costs_as_much_as_it_may_and_no_more() {
    for (cost_max, state) in [(1_000, RunState::Completed), (3, RunState::Failed)] {
        let mut world = limited(&[("expression_cost_max", cost_max)], json!([function("a", json!({}))]));
        let guarded = json!({"from": "a", "to": "b", "when": "[1, 2, 3, 4, 5, 6].size() == 7"});
        let nodes = [function("a", json!({})), function("b", json!({}))];
        world.register(&json!({"name": "v", "version": "1", "nodes": nodes, "edges": [guarded]}).to_string());
        let run = world.start("v", 1, "{}");
        world.ok("a", "1");
        assert_eq!(world.state(&run), state, "{cost_max}");
    }
}
