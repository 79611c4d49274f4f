//! Random graphs, results, failures, cancels, timers and crashes on a seed; the invariants after each step.
//! `SIMULATION_SEEDS=n` runs more of them, `SIMULATION_SEED=n` one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod world;

use apex_ir::overlay::Grant;
use apex_machine::command::{
    ApplyPatch, ApprovePatch, Arm, ChangeSchedule, Command, DropDeadLetter, Erase, Fidelity, Heartbeat, JobResult,
    MigrateRun, Outcome, Overlap, PatchPolicy, PatchRule, PatchRules, PatchWorkflow, ResultPatch, RollbackPatch, Runs,
    ScheduleChange, Selector, TagWorkflow, Timing, UnpatchWorkflow,
};
use apex_machine::view::{LetterFilter, PatchStatus, RunFilter};
use apex_machine::{Config, Job, JobKind, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use world::{Chance, SECOND, World, failed, put_schedule};

/// A random definition. Nodes are numbered in topological order.
fn definition(chance: &mut Chance, name: &str) -> Value {
    let count = 1 + chance.below(9) as usize;
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    for at in 0..count {
        let id = format!("n{at}");
        let mut node = match chance.below(14) {
            12 => signal(chance),
            13 => agent(chance),
            0 => json!({"type": "join"}),
            1 => json!({"type": "timer", "config": {"duration_s": chance.below(50)}}),
            2 => json!({"type": "approval", "config": {"prompt": "Go on?", "timeout_s": 30 + chance.below(60),
                        "on_timeout": (["approve", "reject", "fail"][chance.below(3) as usize]),
                        "escalate_to": ["ops"], "escalate_after_s": 1 + chance.below(20)}}),
            3 => map(chance, at, 0),
            4 => looping(chance, at, 0),
            6 => composite(chance),
            5 => json!({"type": "http", "config": {"method": "GET", "url": "https://example.com/${inputs.x}"}}),
            _ => function(chance, at),
        };
        node["id"] = json!(id);
        if chance.one_in(6) {
            node["on_error"] = json!("continue");
        }
        let mut incoming = 0;
        for from in 0..at {
            let is_wanted = chance.one_in(2 + at as u64 / 2) || (from + 1 == at && chance.one_in(2));
            if !is_wanted {
                continue;
            }
            let mut edge = json!({"from": format!("n{from}"), "to": id});
            match chance.below(6) {
                0 => edge["when"] = json!(format!("nodes.n{from}.status == 'ok' && inputs.x > {}", chance.below(4))),
                1 => edge["on"] = json!("error"),
                2 => edge["when"] = json!(format!("has(nodes.n{from}.output) && inputs.x >= 1")),
                _ => {}
            }
            if node["type"] == "function" && (at + from).is_multiple_of(2) {
                // With `any`, it may be rendered before the source is decided.
                node["input"]["up"] = json!(format!("${{nodes.n{from}.output}} ${{nodes.n{from}.status}}"));
            }
            edges.push(edge);
            incoming += 1;
        }
        if incoming > 1 {
            match chance.below(4) {
                0 => node["join"] = json!("any"),
                1 => node["join"] = json!({"quorum": 1 + chance.below(incoming), "required": chance.one_in(3)}),
                _ => {}
            }
            if chance.one_in(3) {
                node["cancel_rest"] = json!(true);
            }
        }
        nodes.push(node);
    }
    let mut document = json!({"name": name, "version": "1", "nodes": nodes, "edges": edges,
        "inputs": {"type": "object", "properties": {"x": {"type": "integer"}}}});
    if chance.one_in(4) {
        document["timeout_s"] = json!(20 + chance.below(200));
    }
    if chance.one_in(4) {
        document["compensation_timeout_s"] = json!(5 + chance.below(60));
    }
    document
}

fn agent(chance: &mut Chance) -> Value {
    let mut node = json!({"type": "agent", "config": {"prompt": "${inputs.x}?", "may_patch": !chance.one_in(5)}});
    if chance.one_in(2) {
        node["retry"] = json!({"max_attempts": 2, "initial_s": 1});
    }
    node
}

fn signal(chance: &mut Chance) -> Value {
    let name = format!("go{}", chance.below(2));
    if chance.one_in(4) {
        // The id of the run itself stands for any run that is there.
        return json!({"type": "signal", "config": {"name": name, "send": {"run_id": "${run.id}", "payload": 3}}});
    }
    let mut config = json!({"name": name, "timeout_s": 1 + chance.below(90),
        "on_timeout": if chance.one_in(2) { "continue" } else { "fail" }});
    if chance.one_in(2) {
        config["match"] = json!(format!("signal.payload > {}", chance.below(4)));
    }
    json!({"type": "signal", "config": config})
}

fn function(chance: &mut Chance, at: usize) -> Value {
    let mut node = json!({"type": "function", "config": {"name": "f"}, "input": {"at": at, "x": "${inputs.x}"},
        "effect": (["pure", "read", "write"][chance.below(3) as usize])});
    if chance.one_in(2) {
        node["retry"] = json!({"max_attempts": 1 + chance.below(3), "initial_s": 1, "non_retryable": ["Fatal"]});
        if chance.one_in(2) {
            node["retry"]["by_error"] = json!([
                {"types": ["Broken", "CircuitOpen"], "max_attempts": 1 + chance.below(4), "initial_s": chance.below(9)},
                {"types": ["HeartbeatTimeout"], "max_attempts": 2}]);
        }
    }
    if chance.one_in(4) {
        node["schedule_to_close_s"] = json!(1 + chance.below(40));
    }
    if chance.one_in(4) {
        node["heartbeat_timeout_s"] = json!(1 + chance.below(15));
    }
    if chance.one_in(3) {
        node["breaker"] = json!({"failure_threshold": 1 + chance.below(3), "timeout_s": 1 + chance.below(20),
            "probes": 1 + chance.below(2)});
        match chance.below(4) {
            0 => node["breaker"]["fallback"] = json!({"value": {"v": "${inputs.x}"}}),
            1 => node["breaker"]["fallback"] = json!({"cached": true}),
            _ => {}
        }
    }
    if chance.one_in(4) {
        node["correction"] = json!({"instructions": "Try x = 1", "max_attempts": 1 + chance.below(2)});
    }
    if chance.one_in(3) {
        node["timeout_s"] = json!(1 + chance.below(30));
    }
    if chance.one_in(2) {
        node["compensation"] = json!({"name": "undo", "input": {"at": at}});
    }
    if chance.one_in(4) {
        node["concurrency_key"] = json!(format!("k{}", chance.below(2)));
    }
    if chance.one_in(6) {
        node["rate_limit"] = json!({"count": 1 + chance.below(3), "per_s": 1 + chance.below(10)});
    }
    node
}

/// A body of a few nodes in a row, maybe with a body in it; some edges are the way for failures.
fn body(chance: &mut Chance, at: usize, depth: usize, input: &Value) -> Value {
    let mut body = Vec::new();
    let mut edges = Vec::new();
    for inner in 0..1 + chance.below(3) {
        let id = format!("b{at}_{depth}_{inner}");
        let mut node = match chance.below(8) {
            0 if depth == 0 => map(chance, at, 1),
            1 if depth == 0 => looping(chance, at, 1),
            2 => json!({"type": "timer", "config": {"duration_s": chance.below(20)}}),
            3 => composite(chance),
            4 => agent(chance),
            _ => function(chance, at),
        };
        node["id"] = json!(id);
        if node["type"] == "function" {
            node["input"] = input.clone();
        }
        if inner > 0 {
            let mut edge = json!({"from": format!("b{at}_{depth}_{}", inner - 1), "to": id});
            if chance.one_in(6) {
                edge["on"] = json!("error");
            }
            edges.push(edge);
        }
        body.push(node);
    }
    json!({"nodes": body, "edges": edges})
}

/// A run of one of the two workflows, of itself maybe, or of one that is not there.
fn composite(chance: &mut Chance) -> Value {
    let workflow = ["w0", "w1", "w1", "w0", "nowhere"][chance.below(5) as usize];
    let mut node = json!({"type": "composite", "config": {"workflow": workflow, "tag": "main",
        "inputs": {"x": if chance.one_in(20) { "text" } else { "${inputs.x}" }}}});
    if chance.one_in(3) {
        node["retry"] = json!({"max_attempts": 2, "initial_s": 1});
    }
    if chance.one_in(4) {
        node["timeout_s"] = json!(1 + chance.below(60));
    }
    if chance.one_in(4) {
        node["compensation"] = json!({"name": "undo", "input": {}});
    }
    node
}

fn map(chance: &mut Chance, at: usize, depth: usize) -> Value {
    let body = body(chance, at, depth, &json!({"item": "${item}", "index": "${index}"}));
    let list: Vec<u64> = (0..chance.below(5)).collect();
    json!({"type": "map", "config": {"over": list, "body": body, "max_concurrency": 1 + chance.below(4),
        "on_item_error": if chance.one_in(2) { "skip" } else { "fail" }}})
}

fn looping(chance: &mut Chance, at: usize, depth: usize) -> Value {
    let body = body(chance, at, depth, &json!({"at": "${iteration}", "last": "${last}"}));
    let condition = ["true", "iteration < 2", "last == null || iteration < inputs.x"][chance.below(3) as usize];
    json!({"type": "loop", "config": {"while": condition, "max_iterations": 1 + chance.below(4), "body": body}})
}

fn outcome(chance: &mut Chance, job: &Job) -> Outcome {
    if job.kind == JobKind::Correction && chance.one_in(2) {
        return Outcome::Ok(b"{\"input\":{\"x\":1},\"reason\":\"so\"}".to_vec());
    }
    match chance.below(10) {
        0 => failed("Broken"),
        1 => failed("Fatal"),
        2 => Outcome::Failed { kind: "Once".into(), message: String::new(), retryable: Some(false) },
        3 => Outcome::TimedOut { message: "slow".into() },
        4 => Outcome::Cancelled { message: "stopped".into() },
        _ if job.kind == JobKind::Agent && chance.one_in(2) => patched(chance, job),
        _ => Outcome::Ok(format!("{{\"v\":{}}}", chance.below(5)).into_bytes()),
    }
}

/// An agent patches its run, on what it was shown; or says so without having been asked.
fn patched(chance: &mut Chance, job: &Job) -> Outcome {
    let (definition, base_epoch) = match &job.patching {
        Some(patching) => (patching.definition.clone(), patching.epoch),
        None => (Arc::from(&b"{\"name\":\"w\",\"version\":\"1\",\"nodes\":[{\"id\":\"a\"}],\"edges\":[]}"[..]), 0),
    };
    let mut before: Value = serde_json::from_slice(&definition).unwrap();
    if before.get("edges").is_none() {
        before["edges"] = json!([]);
    }
    let version = 50 + chance.below(40);
    let mut after = next_version(chance, &before, version);
    after["version"] = before["version"].clone();
    if chance.one_in(3) {
        let mut another = agent(chance);
        another["id"] = json!(format!("a{version}"));
        after["nodes"].as_array_mut().unwrap().push(another);
    }
    let operations = operations(&before, &after);
    let rules = Arc::new(rules(chance));
    let patch = ResultPatch { operations, reason: "so".into(), base_epoch, rules };
    Outcome::Patched(b"{\"v\":3}".to_vec(), Box::new(patch))
}

/// What makes one definition of another.
fn operations(before: &Value, after: &Value) -> Vec<u8> {
    let limits = apex_ir::value::ValueLimits::default();
    let read = |document: &Value| apex_ir::value::parse(document.to_string().as_bytes(), &limits).unwrap();
    let mut operations = Vec::new();
    apex_ir::overlay::diff(&read(before), &read(after)).to_value().write_canonical(&mut operations);
    operations
}

/// Who may what: mostly anything at once.
fn rules(chance: &mut Chance) -> PatchRules {
    let mut rule = || PatchRule {
        policy: [PatchPolicy::Apply, PatchPolicy::Apply, PatchPolicy::Apply, PatchPolicy::Approve, PatchPolicy::Refuse]
            [chance.below(5) as usize],
        grant: if chance.one_in(4) { Grant::default() } else { Grant::all() },
    };
    PatchRules { client: rule(), agent: rule(), optimizer: rule(), functions: None }
}

/// Another version: the same graph, or one with nodes and edges more or less, or with other policies.
fn next_version(chance: &mut Chance, before: &Value, version: u64) -> Value {
    let mut document = before.clone();
    document["version"] = json!(version.to_string());
    for _ in 0..chance.below(4) {
        let nodes = document["nodes"].as_array().unwrap();
        let ids: Vec<String> = nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        let any = |chance: &mut Chance| chance.below(ids.len() as u64) as usize;
        let (one, other) = (any(chance), any(chance));
        match chance.below(6) {
            0 | 1 => {
                let id = format!("v{version}_{}", chance.below(4));
                let mut node = function(chance, other);
                node["id"] = json!(id);
                document["nodes"].as_array_mut().unwrap().push(node);
                let mut edge = json!({"from": ids[one], "to": id});
                match chance.below(5) {
                    0 => edge["when"] = json!(format!("nodes.{}.status == 'ok'", ids[one])),
                    1 => edge["on"] = json!("error"),
                    _ => {}
                }
                if !chance.one_in(4) {
                    document["edges"].as_array_mut().unwrap().push(edge);
                }
            }
            2 if ids.len() > 1 => {
                document["nodes"].as_array_mut().unwrap().remove(one);
                let stays = |edge: &Value| edge["from"] != json!(ids[one]) && edge["to"] != json!(ids[one]);
                document["edges"].as_array_mut().unwrap().retain(stays);
            }
            3 => document["edges"].as_array_mut().unwrap().push(json!({"from": ids[one], "to": ids[other]})),
            4 => document["nodes"][one]["timeout_s"] = json!(1 + chance.below(30)),
            _ => document["nodes"][one]["priority"] = json!("high"),
        }
    }
    document
}

/// A patch of a run, on the definition that it has now or (said so) had before.
fn patch(chance: &mut Chance, world: &mut World, run_id: RunId) -> Option<ApplyPatch> {
    let (definition, epoch) = world.machine.definition_of("t", &run_id).ok()?;
    let before: Value = serde_json::from_slice(&definition).unwrap();
    let version = 5 + chance.below(40);
    let mut after = next_version(chance, &before, version);
    after["version"] = before["version"].clone();
    let operations = operations(&before, &after);
    let idempotency_key = if chance.one_in(3) { format!("p{}", chance.below(3)) } else { String::new() };
    let base_epoch = chance.one_in(2).then(|| epoch - chance.below(u64::from(epoch.min(2)) + 1) as u32);
    let exact = base_epoch.is_some() && chance.one_in(4);
    let (tenant, reason, author) = ("t".to_owned(), String::new(), "sim".to_owned());
    let rules = Arc::new(rules(chance));
    Some(ApplyPatch { tenant, run_id, operations, reason, author, base_epoch, exact, idempotency_key, rules })
}

/// A patch on a workflow, dropped or proposed; or a tag with arms.
fn change_workflow(chance: &mut Chance, world: &World) -> Command {
    let (tenant, name) = ("t".to_owned(), format!("w{}", chance.below(2)));
    let version = |chance: &mut Chance| (1 + chance.below(4)).to_string();
    match chance.below(6) {
        0 => {
            let patch_id = format!("{name}~w{}", 1 + chance.below(8));
            let (reason, by) = (String::new(), String::new());
            Command::UnpatchWorkflow(UnpatchWorkflow { tenant, patch_id, reason, by, grant: Grant::default() })
        }
        1 => {
            let mut arms = Vec::new();
            for _ in 0..chance.below(3) {
                let runs = match chance.below(3) {
                    0 => Runs::Version(version(chance)),
                    1 => Runs::Set("patches".into()),
                    _ => Runs::Set("x".into()),
                };
                arms.push(Arm { runs, share: 100 + chance.below(500) as u32 });
            }
            let tag = ["main", "canary"][chance.below(2) as usize].into();
            let version = version(chance);
            Command::TagWorkflow(TagWorkflow { tenant, name, version, tag, expected_version: None, arms })
        }
        _ => {
            let selector = match chance.below(4) {
                0 => Selector::Version(version(chance)),
                1 => Selector::Tag("canary".into()),
                _ => Selector::Latest,
            };
            let view = world.machine.workflow("t", &name, &selector);
            let view = view.or_else(|| world.machine.workflow("t", &name, &Selector::Latest)).unwrap();
            let before: Value = serde_json::from_slice(&view.definition).unwrap();
            let number = 50 + chance.below(40);
            let mut after = next_version(chance, &before, number);
            after["version"] = before["version"].clone();
            let limits = apex_ir::value::ValueLimits::default();
            let read = |document: &Value| apex_ir::value::parse(document.to_string().as_bytes(), &limits).unwrap();
            let mut operations = Vec::new();
            apex_ir::overlay::diff(&read(&before), &read(&after)).to_value().write_canonical(&mut operations);
            Command::PatchWorkflow(Box::new(PatchWorkflow {
                tenant,
                name,
                selector,
                set: if chance.one_in(4) { "x".into() } else { String::new() },
                operations,
                reason: String::new(),
                author: "sim".into(),
                idempotency_key: if chance.one_in(4) { format!("p{}", chance.below(3)) } else { String::new() },
                policy: rules(chance).client.policy,
                grant: apex_ir::overlay::Grant::all(),
                at_once: chance.one_in(4),
            }))
        }
    }
}

/// A derived version is what its base and the patches in force make, in their order; every patch came to something; and
/// the arms of tags have counted what the events say.
fn check_patch_sets(world: &World) {
    let text = |event: &world::Seen, name: &str| event.payload[name].as_str().unwrap_or_default().to_owned();
    let of = |event: &world::Seen| (text(event, "name"), event.payload["number"].as_u64().unwrap());
    let definition = |name: &str, version: &str| {
        world.machine.workflow("t", name, &Selector::Version(version.into())).unwrap().definition
    };
    let mut sets: BTreeMap<(String, u64), String> = BTreeMap::new();
    let mut in_force: BTreeMap<(String, u64), Vec<apex_ir::overlay::Operation>> = BTreeMap::new();
    let mut tests: BTreeMap<(String, String), u64> = BTreeMap::new();
    for event in &world.seen {
        match event.name {
            "WorkflowPatchProposed" => {
                sets.insert(of(event), format!("{}+{}", text(event, "base_version"), text(event, "set")));
            }
            "WorkflowPatchAccepted" => {
                let operations = event.payload["operations"].to_string();
                in_force.insert(of(event), apex_ir::overlay::read_operations(operations.as_bytes()).unwrap());
            }
            "WorkflowPatchRolledBack" => assert!(in_force.remove(&of(event)).is_some(), "what goes was there"),
            "WorkflowRegistered" if event.payload.get("set").is_some() => {
                let (name, base) = (text(event, "name"), text(event, "base_version"));
                let set = format!("{base}+{}", text(event, "set"));
                let layers = in_force.iter().filter(|(key, _)| key.0 == name && sets[*key] == set);
                let layers: Vec<_> = layers.map(|(_, operations)| operations.as_slice()).collect();
                let limits = apex_ir::Limits::default();
                let base = apex_ir::compile(&definition(&name, &base), None, &limits).unwrap();
                let ir = apex_ir::overlay::materialize(&base, &layers, &limits).unwrap();
                let mut made: Value = serde_json::from_slice(&ir.canonical).unwrap();
                made["version"] = event.payload["version"].clone();
                assert_eq!(made, event.payload["definition"], "base and patches make the version");
            }
            "WorkflowTagged" => {
                let test = event.payload.get("test").and_then(Value::as_u64).unwrap_or_default();
                tests.insert((text(event, "name"), text(event, "tag")), test);
            }
            _ => {}
        }
    }
    for (name, number) in sets.keys() {
        let view = world.machine.workflow_patch("t", &format!("{name}~w{number}"));
        assert!(view.is_none_or(|view| view.status != PatchStatus::Pending), "{name}~w{number} comes to something");
    }
    for ((name, tag), test) in tests.iter().filter(|(_, test)| **test != 0) {
        for arm in world.machine.arms("t", name, tag).unwrap().arms {
            let mut counted = [0; 4];
            for event in world.seen.iter().filter(|event| event.name == "RunStarted" && event.payload["test"] == *test)
            {
                if text(event, "arm") != arm.arm {
                    continue;
                }
                counted[0] += 1;
                match world.machine.run("t", &event.run_id).unwrap().state {
                    RunState::Completed => counted[1] += 1,
                    RunState::Failed => counted[2] += 1,
                    _ => counted[3] += 1,
                }
            }
            assert_eq!([arm.started, arm.completed, arm.failed, arm.cancelled], counted, "{name} {tag} {}", arm.arm);
        }
    }
}

/// The definitions that runs were seen to go on under, by epoch.
type Seen = BTreeMap<RunId, BTreeMap<u32, Value>>;

/// Notes them; what stands in the log makes the program that the log names.
fn look_at_definitions(world: &mut World, runs: &[RunId], seen: &mut Seen) {
    for run in runs {
        let Some(view) = world.machine.run("t", run).filter(|view| !view.state.is_ended()) else { continue };
        let of_run = seen.entry(*run).or_default();
        // A crash may have taken some back.
        of_run.split_off(&(view.epoch + 1));
        if of_run.contains_key(&view.epoch) {
            continue;
        }
        let (definition, epoch) = world.machine.definition_of("t", run).unwrap();
        let hash = apex_ir::compile(&definition, None, &apex_ir::Limits::default()).unwrap().hash;
        assert_eq!((epoch, hash), (view.epoch, view.ir_hash), "invariant 7: base and overlay give the hash in the log");
        of_run.insert(epoch, serde_json::from_slice(&definition).unwrap());
    }
}

/// What had begun when a run went on under another definition stands there as it was.
fn check_begun(world: &World, run: &RunId, definitions: &BTreeMap<u32, Value>) {
    let node = |definition: &Value, id: &str| {
        let mut nodes = definition["nodes"].as_array().unwrap().iter();
        let mut found = nodes.find(|node| node["id"] == json!(id)).cloned().unwrap_or_default();
        for policy in ["timeout_s", "priority"] {
            found.as_object_mut().map(|node| node.remove(policy));
        }
        found
    };
    let mut begun: BTreeSet<String> = BTreeSet::new();
    let mut before: Option<&Value> = None;
    for event in world.events(run) {
        if ["PatchApplied", "PatchRolledBack", "RunMigrated"].contains(&event.name) {
            // Epochs that came and went within a turn were not seen.
            let after = definitions.get(&(event.payload["epoch"].as_u64().unwrap() as u32));
            for id in before.iter().flat_map(|_| &begun).filter(|id| !id.contains('[')) {
                let Some(after) = after else { continue };
                assert_eq!(node(before.unwrap(), id), node(after, id), "invariant 7: {id} has begun");
            }
            before = after;
        } else if before.is_none() && event.name == "RunStarted" {
            before = definitions.get(&0);
        }
        // A turn at a tool that has come is nothing yet.
        if event.payload.get("timer").is_some_and(|timer| timer == "rate") {
            continue;
        }
        begun.insert(event.node().split('[').next().unwrap_or_default().to_owned());
        begun.remove("");
    }
}

/// Sets, pauses, resumes or removes a schedule.
fn schedule(chance: &mut Chance) -> Command {
    let name = format!("s{}", chance.below(2));
    let change = match chance.below(6) {
        0 => ScheduleChange::Pause,
        1 => ScheduleChange::Resume,
        2 => ScheduleChange::Remove,
        _ => {
            let timing = match chance.below(3) {
                0 => Timing::Cron { expression: "*/2 * * * *".into(), time_zone: "Europe/Berlin".into() },
                _ => Timing::Every((5 + chance.below(40) as i64) * SECOND),
            };
            let overlap = [Overlap::Skip, Overlap::BufferOne, Overlap::Allow][chance.below(3) as usize];
            let mut command = put_schedule(&name, timing, overlap);
            command.workflow = format!("w{}", chance.below(2));
            command.jitter_ns = chance.below(3) as i64 * SECOND;
            command.catch_up_ns = chance.below(60) as i64 * SECOND;
            return Command::PutSchedule(Box::new(command));
        }
    };
    Command::ChangeSchedule(ChangeSchedule { tenant: "t".into(), name, change })
}

/// Each time of a schedule starts one run, and says which.
fn check_schedules(world: &World) {
    let by_schedule: BTreeSet<RunId> = world
        .seen
        .iter()
        .filter(|event| event.name == "RunStarted" && event.payload.get("schedule").is_some())
        .map(|event| event.run_id)
        .collect();
    let mut told = BTreeSet::new();
    for event in world.seen.iter().filter(|event| event.name == "ScheduleFired") {
        if event.payload["action"] == "started" {
            let run = RunId::parse(event.payload["run"].as_str().unwrap()).unwrap();
            assert!(by_schedule.contains(&run), "what a schedule says it started was started");
            assert!(told.insert(run), "no time fires twice");
        }
    }
}

/// What a reader may demand of the events of a run, whatever happened.
fn check_events(world: &World, run: &RunId) {
    let mut in_flight = BTreeSet::new();
    let mut decided: BTreeMap<String, u64> = BTreeMap::new();
    let mut results: BTreeMap<String, u64> = BTreeMap::new();
    let mut lettered = BTreeSet::new();
    let mut ended = false;
    let mut undoing = false;
    let mut paused = false;
    let mut next = 0;
    for event in world.events(run) {
        assert!(!ended, "nothing follows the end of a run");
        assert!(event.seq == next || (event.seq + 1 == next && event.name != "RunStarted"), "offsets are dense");
        next = event.seq + 1;
        let node = event.node().to_owned();
        if paused {
            let requests = [
                "ToolCallRequested",
                "CompensationRequested",
                "TimerStarted",
                "ApprovalRequested",
                "ScopeOpened",
                "ChildStarted",
            ];
            assert!(!requests.contains(&event.name), "a paused run requests nothing: {}", event.name);
        }
        let is_decision = match event.name {
            "RunPaused" => {
                assert!(!undoing && !paused);
                paused = true;
                false
            }
            "RunResumed" | "RunCancelled" => {
                paused = false;
                false
            }
            "TimerFired" if event.payload["timer"] == "run" => {
                paused = false;
                false
            }
            "ToolCallRequested" | "ChildStarted" => {
                assert!(!undoing, "a failing run starts nothing new");
                assert!(in_flight.insert(node.clone()), "one attempt of {node} at a time");
                false
            }
            "CorrectionProposed" => {
                assert!(in_flight.remove(&node), "a correction of {node} that was asked for");
                false
            }
            "DeadLettered" => {
                assert!(decided.contains_key(&node), "what is a dead letter has failed");
                assert!(lettered.insert(node.clone()), "one dead letter of {node}");
                false
            }
            "ToolResultReceived" | "ChildEnded" => {
                in_flight.remove(&node);
                results.insert(node.clone(), event.seq);
                event.payload.get("retry").is_none()
            }
            "NodeSkipped" | "ApprovalResolved" => true,
            "TimerFired" => event.payload.get("timer").is_none_or(|timer| timer == "signal"),
            "SignalReceived" => event.payload.get("node").is_some(),
            "CompensationPlanned" => {
                assert!(in_flight.is_empty(), "invariant 6: nothing is in flight when undoing begins");
                assert!(!undoing, "invariant 6: decided once");
                undoing = true;
                // What a child did stands where the child ended.
                let steps = event.payload["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap());
                let order: Vec<(u64, bool)> =
                    steps.map(|step| (results[step.split('/').next().unwrap()], step.contains('/'))).collect();
                let follows = |pair: &[(u64, bool)]| pair[0].0 > pair[1].0 || (pair[0] == pair[1] && pair[0].1);
                assert!(order.windows(2).all(follows), "invariant 6: newest first, {order:?}");
                false
            }
            "WorkflowCompleted" | "WorkflowFailed" => {
                ended = true;
                assert!(in_flight.is_empty());
                false
            }
            _ => false,
        };
        if is_decision {
            let before = decided.insert(node.clone(), event.seq);
            assert_eq!(before, None, "invariant 5: {node} is decided again at {}", event.seq);
        }
    }
}

/// No run undoes anything, or ends, before its children have ended.
fn check_children(world: &World) {
    let mut open: BTreeMap<RunId, BTreeSet<RunId>> = BTreeMap::new();
    let mut parents: BTreeMap<RunId, RunId> = BTreeMap::new();
    for event in &world.seen {
        let run = event.run_id;
        match event.name {
            "RunStarted" => {
                if let Some(parent) = event.payload["parent_run"].as_str() {
                    let parent = RunId::parse(parent).unwrap();
                    assert!(open.entry(parent).or_default().insert(run), "a child starts once");
                    parents.insert(run, parent);
                }
            }
            "CompensationPlanned" | "WorkflowCompleted" | "WorkflowFailed" => {
                let children = open.get(&run);
                assert!(
                    children.is_none_or(BTreeSet::is_empty),
                    "{} of {run} before the end of {children:?}",
                    event.name
                );
                if event.name != "CompensationPlanned"
                    && let Some(parent) = parents.get(&run)
                {
                    open.get_mut(parent).unwrap().remove(&run);
                }
            }
            _ => {}
        }
    }
}

/// A key is held by one node at a time, while its job is in flight: over all runs.
fn check_sections(world: &World) {
    let mut keys: BTreeMap<(RunId, String), String> = BTreeMap::new();
    let mut in_section: BTreeMap<String, (RunId, String)> = BTreeMap::new();
    for event in &world.seen {
        let place = (event.run_id, event.node().to_owned());
        match event.name {
            "LockAcquired" if event.payload["granted"] == true => {
                keys.insert(place, event.payload["key"].as_str().unwrap().to_owned());
            }
            "LockReleased" => assert!(keys.remove(&place).is_some(), "{place:?} held no key"),
            "ToolCallRequested" => {
                let Some(key) = keys.get(&place) else { continue };
                let before = in_section.insert(key.clone(), place.clone());
                // The same node again: another attempt of it, or the model that corrects it.
                let is_alone = before.as_ref().is_none_or(|before| *before == place);
                assert!(is_alone, "{place:?} enters the section {key} of {before:?}");
            }
            // What waits for its next attempt, corrected or not, is not in flight.
            "ToolResultReceived" | "CorrectionProposed" => in_section.retain(|_, inside| *inside != place),
            _ => {}
        }
    }
}

/// The history is decided again as it was, and shows at its end what the machine shows.
fn check_history(world: &World, run: &RunId) {
    let checked = match history::check(&world.history(run)) {
        Ok(checked) => checked,
        Err(error) => panic!("run {run}: {error}\n{:#?}", world.events(run)),
    };
    let view = world.machine.run("t", run).unwrap();
    assert_eq!(checked.records, view.offset + 1);
    let begins = |name| ["RunStarted", "RunMigrated"].contains(&name);
    let versions =
        world.events(run).into_iter().filter(|event| begins(event.name)).map(|event| &event.payload["version"]);
    let patched = world
        .events(run)
        .into_iter()
        .any(|event| event.name == "PatchApplied" && event.payload["operations"].to_string().contains("\"composite\""));
    let has_composite = patched
        || versions.filter_map(Value::as_str).any(|version| {
            let definition = world.machine.workflow("t", &view.workflow, &Selector::Version(version.into())).unwrap();
            String::from_utf8_lossy(&definition.definition).contains("\"type\":\"composite\"")
        });
    let is_of_composite = has_composite || view.parent_run.is_some();
    let is_shared = world.events(run).iter().any(|event| {
        event.name == "LockAcquired"
            || event.payload.get("rate_interval_ns").is_some()
            || event.payload.get("timer").is_some_and(|timer| timer == "rate")
    });
    // A fast run does not say what was decided on: it is folded, not decided again.
    let is_fast = view.fidelity == Fidelity::Fast;
    assert_eq!(checked.decided == 0, is_of_composite || is_shared || is_fast);
    if is_of_composite || is_shared {
        return;
    }
    let again = history::view_at(&world.bodies(run)).unwrap();
    assert_eq!((again.state, again.offset, again.nodes_done), (view.state, view.offset, view.nodes_done));
    assert_eq!((again.error, again.ended_ns, again.version), (view.error, view.ended_ns, view.version));
}

/// Runs a seed; gives how often each event occurred.
fn simulate(seed: u64) -> BTreeMap<&'static str, usize> {
    let mut chance = Chance(seed);
    let mut config = Config { partitions: 4, ..Config::default() };
    if chance.one_in(2) {
        config.limits.events_per_turn_max = 1 + chance.below(6) as u32;
        config.limits.events_per_visit_max = 1 + chance.below(6) as u32;
    }
    if seed.is_multiple_of(3) {
        config.limits.runs_awake_max = 1;
    }
    if chance.one_in(3) {
        config.limits.dead_letters_max = 1 + chance.below(3);
        config.limits.breaker_outputs_max = 1;
    }
    config.limits.patch_batch_max = 1 + chance.below(4) as usize;
    config.limits.depth_max = 3;
    let slack = 4;
    let bound = config.limits.events_per_turn_max + slack;
    let mut world = World::new(config);
    let mut workflows = 0;
    while workflows < 2 {
        let document = definition(&mut chance, &format!("w{workflows}"));
        let text = document.to_string();
        match apex_ir::compile(text.as_bytes(), None, &apex_ir::Limits::default()) {
            Ok(_) => {
                world.register(&text);
                let mut version = 2;
                while version < 5 {
                    let text = next_version(&mut chance, &document, version).to_string();
                    if apex_ir::compile(text.as_bytes(), None, &apex_ir::Limits::default()).is_ok() {
                        world.register(&text);
                        version += 1;
                    }
                }
            }
            // A guard may name a node that is not upstream of its edge, and so on: draw again.
            Err(_) => continue,
        }
        workflows += 1;
    }
    let mut rested = 0;
    let mut definitions = Seen::new();
    let mut runs: Vec<RunId> = Vec::new();
    let mut acknowledged: BTreeMap<RunId, u64> = BTreeMap::new();
    for n in 0..400 {
        if n > 300 && runs.iter().all(|run| world.machine.run("t", run).is_none_or(|view| view.state.is_ended())) {
            break;
        }
        let mut commands = Vec::new();
        if n < 60 && chance.one_in(5) {
            let workflow = format!("w{}", chance.below(2));
            let mut command = world.start_command(&workflow, n, &format!("key{}", chance.below(3)), "{\"x\":2}");
            if n % 2 == 1 {
                command.fidelity = Some(Fidelity::Fast);
            }
            commands.push((n + 1, Command::StartRun(Box::new(command))));
        }
        for _ in 0..chance.below(4) {
            let held: Vec<u64> = world.jobs.keys().copied().collect();
            if let Some(&id) = held.get(chance.below(held.len() as u64 + 1) as usize) {
                let job = &world.jobs[&id];
                let attempt = job.attempt;
                let outcome = if world.asked_to_end.contains(&id) && chance.one_in(2) {
                    Outcome::Cancelled { message: String::new() }
                } else {
                    outcome(&mut chance, job)
                };
                if !chance.one_in(10) {
                    world.jobs.remove(&id);
                    world.done.push((id, attempt));
                }
                commands.push((0, Command::JobResult(JobResult { job: id, attempt, outcome })));
            }
        }
        for (&id, job) in &world.jobs {
            if chance.one_in(4) {
                let progress = if chance.one_in(3) { Vec::new() } else { format!("{n}").into_bytes() };
                commands.push((0, Command::Heartbeat(Heartbeat { job: id, attempt: job.attempt, progress })));
            }
        }
        if chance.one_in(20)
            && let Some(view) = world.machine.dead_letters("t", &LetterFilter::default(), 1, "").items.pop()
        {
            let (by, retried_as) = (String::new(), String::new());
            commands
                .push((0, Command::DropDeadLetter(DropDeadLetter { tenant: "t".into(), id: view.id, by, retried_as })));
        }
        // Results that came twice, and results of attempts that never were: invariant 4.
        if chance.one_in(6)
            && let Some(&(job, attempt)) = world.done.last()
        {
            let result = |job, attempt| Command::JobResult(JobResult { job, attempt, outcome: failed("Late") });
            commands.push((0, result(job, attempt)));
            commands.push((0, result(job, attempt + 7)));
            commands.push((0, result(job + 99, attempt)));
        }
        if chance.one_in(4) {
            world.now += chance.below(20) as i64 * SECOND;
            commands.push((0, Command::Tick));
        }
        if chance.one_in(8) {
            for view in world.machine.approvals("t", None, 10, "").items {
                if chance.one_in(2) {
                    commands.push((
                        0,
                        Command::ResolveApproval(apex_machine::command::ResolveApproval {
                            tenant: "t".into(),
                            ticket: view.ticket,
                            approve: chance.one_in(2),
                            reason: String::new(),
                            edits: None,
                            by: String::new(),
                        }),
                    ));
                }
            }
        }
        if n < 60 && chance.one_in(8) {
            commands.push((0, schedule(&mut chance)));
        }
        if chance.one_in(8) {
            commands.push((0, change_workflow(&mut chance, &world)));
        }
        if chance.one_in(25) && !runs.is_empty() {
            let run_id = runs[chance.below(runs.len() as u64) as usize];
            commands.push((
                0,
                Command::CancelRun(apex_machine::command::CancelRun {
                    tenant: "t".into(),
                    run_id,
                    reason: String::new(),
                    compensate: !chance.one_in(3),
                    by: String::new(),
                }),
            ));
        }
        if chance.one_in(6) && !runs.is_empty() {
            let (tenant, by, name) = ("t".to_owned(), String::new(), format!("go{}", chance.below(2)));
            let payload = chance.below(6).to_string().into_bytes();
            let idempotency_key = if chance.one_in(2) { format!("s{}", chance.below(5)) } else { String::new() };
            let run_id = runs[chance.below(runs.len() as u64) as usize];
            commands.push(if chance.one_in(3) {
                let publish = apex_machine::command::PublishSignal { tenant, name, payload, idempotency_key, by };
                (0, Command::PublishSignal(publish))
            } else {
                let signal = apex_machine::command::SignalRun { tenant, run_id, name, payload, idempotency_key, by };
                (0, Command::SignalRun(signal))
            });
        }
        if chance.one_in(10) && !runs.is_empty() {
            let (tenant, by) = ("t".into(), String::new());
            let run_id = runs[chance.below(runs.len() as u64) as usize];
            commands.push(if chance.one_in(2) {
                let reason = String::new();
                (0, Command::PauseRun(apex_machine::command::PauseRun { tenant, run_id, reason, by }))
            } else {
                (0, Command::ResumeRun(apex_machine::command::ResumeRun { tenant, run_id, by }))
            });
        }
        if chance.one_in(4) && !runs.is_empty() {
            let run_id = runs[chance.below(runs.len() as u64) as usize];
            let selector = Selector::Version((1 + chance.below(4)).to_string());
            commands
                .push((0, Command::MigrateRun(MigrateRun { tenant: "t".into(), run_id, selector, by: String::new() })));
        }
        if chance.one_in(3) && !runs.is_empty() {
            let run_id = runs[chance.below(runs.len() as u64) as usize];
            let (tenant, reason, by) = ("t".to_owned(), String::new(), String::new());
            if chance.one_in(4) {
                let patch_id = format!("{run_id}~p{}", 1 + chance.below(4));
                let rules = Arc::new(rules(&mut chance));
                commands.push((0, Command::RollbackPatch(RollbackPatch { tenant, patch_id, reason, by, rules })));
            } else if chance.one_in(4) {
                let patch_id = format!("{run_id}~p{}", 1 + chance.below(4));
                let (approve, rules) = (!chance.one_in(4), Arc::new(PatchRules::open()));
                let approval = ApprovePatch { tenant, patch_id, approve, reason, by, rules };
                commands.push((0, Command::ApprovePatch(approval)));
            } else if let Some(patch) = patch(&mut chance, &mut world, run_id) {
                commands.push((0, Command::ApplyPatch(Box::new(patch))));
            }
        }
        let (count, _) = world.turn(commands);
        look_at_definitions(&mut world, &runs, &mut definitions);
        assert!(count <= bound, "invariant 10: a turn of {count} records, bound {bound}");
        if world.machine.counts().runs_resting > 0 {
            rested += 1;
        }
        if !chance.one_in(3) {
            let position = world.durable + chance.below(world.log.len() as u64 - world.durable + 1);
            world.sync(position);
        }
        for reply in std::mem::take(&mut world.replies) {
            if let Ok(answer) = reply.outcome
                && let Some(run) = answer.run_id
            {
                acknowledged.insert(run, answer.offset);
                if !runs.contains(&run) {
                    runs.push(run);
                }
            }
        }
        if chance.one_in(40) {
            world.crash(&mut chance);
            look_at_definitions(&mut world, &runs, &mut definitions);
            for (run, offset) in &acknowledged {
                let view = world.machine.run("t", run).expect("invariant 1: what was acknowledged is there");
                assert!(view.offset >= *offset);
            }
        }
    }
    check_schedules(&world);
    for name in ["s0", "s1"] {
        let (tenant, name, change) = ("t".into(), name.into(), ScheduleChange::Remove);
        world.settle(vec![(0, Command::ChangeSchedule(ChangeSchedule { tenant, name, change }))]);
    }
    // From here on nothing is held, everything is answered and all time passes: every run must end.
    world.settle(Vec::new());
    let open = world.machine.runs("t", &apex_machine::view::RunFilter::default(), 1_000, "").items;
    for run_id in open.into_iter().filter(|view| !view.state.is_ended()).map(|view| view.run_id) {
        let (tenant, by) = ("t".into(), String::new());
        world.ask(Command::ResumeRun(apex_machine::command::ResumeRun { tenant, run_id, by }));
    }
    for _ in 0..20_000 {
        world.settle(vec![(0, Command::Tick)]);
        let Some((&id, job)) = world.jobs.iter().next() else {
            match (world.machine.approvals("t", None, 1, "").items.first(), world.machine.next_due()) {
                (Some(view), _) => {
                    let ticket = view.ticket.clone();
                    world.resolve(&ticket, true);
                    continue;
                }
                (None, Some(due)) => {
                    world.now = world.now.max(due);
                    continue;
                }
                (None, None) => break,
            }
        };
        let attempt = job.attempt;
        let outcome = outcome(&mut chance, job);
        world.jobs.remove(&id);
        world.done.push((id, attempt));
        world.settle(vec![(0, Command::JobResult(JobResult { job: id, attempt, outcome }))]);
    }
    let before = world.machine.snapshot();
    for (job, attempt) in std::mem::take(&mut world.done) {
        world.settle(vec![(0, Command::JobResult(JobResult { job, attempt, outcome: failed("Late") }))]);
    }
    assert_eq!(before, world.machine.snapshot(), "invariant 4: late results change nothing");
    let all: BTreeSet<RunId> =
        world.seen.iter().map(|event| event.run_id).filter(|id| *id != RunId::REGISTRY).collect();
    for run in &all {
        let view = world.machine.run("t", run).unwrap();
        assert!(view.state.is_ended(), "invariant 5: run {run} never ends: {:?} {:?}", view, world.names(run));
        assert!(world.machine.run("other", run).is_none(), "invariant 9");
        check_events(&world, run);
        check_history(&world, run);
        if let Some(definitions) = definitions.get(run) {
            check_begun(&world, run, definitions);
        }
    }
    check_children(&world);
    check_patch_sets(&world);
    check_sections(&world);
    let counts = world.machine.counts();
    assert_eq!((counts.runs_open, counts.jobs_in_flight, counts.timers, counts.approvals), (0, 0, 0, 0));
    erase_all(&mut world, &mut chance, &all);
    let mut occurred = BTreeMap::from([("rested", rested)]);
    for event in &world.seen {
        *occurred.entry(event.name).or_default() += 1;
        if event.payload["omitted"] == true {
            *occurred.entry("omitted").or_default() += 1;
        }
        if event.name == "WorkflowFailed" && event.payload["compensation_executed"] == true {
            *occurred.entry("undone").or_default() += 1;
        }
    }
    occurred
}

/// Some runs are forgotten, each with those that ran for it, then all that is left; with crashes in between.
fn erase_all(world: &mut World, chance: &mut Chance, all: &BTreeSet<RunId>) {
    let command = |run_id| Command::Erase(Erase { tenant: "t".into(), run_id, by: String::new() });
    for &run in all.iter().filter(|_| chance.one_in(2)).collect::<Vec<_>>() {
        let below: Vec<RunId> = world
            .machine
            .runs("t", &RunFilter::default(), 1_000, "")
            .items
            .iter()
            .filter(|view| view.parent_run == Some(run))
            .map(|view| view.run_id)
            .collect();
        let parent = world.machine.run("t", &run).map(|view| view.parent_run);
        let outcome = world.ask(command(Some(run))).outcome;
        match parent {
            None => assert_eq!(outcome.unwrap_err().code, "RUN_NOT_FOUND"),
            Some(Some(_)) => assert_eq!(outcome.unwrap_err().code, "WRONG_STATE"),
            Some(None) => {
                outcome.unwrap();
                for gone in below.iter().chain([&run]) {
                    assert!(world.machine.run("t", gone).is_none(), "{gone} is erased");
                }
                let letters = world.machine.dead_letters("t", &LetterFilter::default(), 1_000, "").items;
                assert!(letters.iter().all(|letter| letter.run_id != run));
            }
        }
        if chance.one_in(4) {
            world.sync(world.log.len() as u64);
            world.crash(chance);
        }
    }
    world.ask(command(None)).outcome.unwrap();
    world.sync(world.log.len() as u64);
    world.crash(chance);
    let counts = world.machine.counts();
    assert_eq!(
        (counts.runs_ended, counts.workflows, counts.idempotency_keys),
        (0, 0, 0),
        "nothing of the tenant is left"
    );
}

#[test]
fn invariants_hold_on_every_seed() {
    if let Some(seed) = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        simulate(seed);
        return;
    }
    let seeds: u64 = std::env::var("SIMULATION_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let mut occurred: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..seeds {
        match std::panic::catch_unwind(|| simulate(seed)) {
            Ok(names) => names.into_iter().for_each(|(name, count)| *occurred.entry(name).or_default() += count),
            Err(cause) => {
                eprintln!("SIMULATION_SEED={seed} fails");
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("{occurred:?}");
    // Every event that this version makes, but those of goals, was met.
    assert!(occurred.len() >= 41, "{occurred:?}");
}
