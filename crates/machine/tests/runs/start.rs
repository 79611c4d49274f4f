use crate::world::{World, start_command};
use crate::{function, last, world, world_of};
use apex_machine::command::{Command, Goal, Outcome, StartRun};
use apex_machine::error::code;
use apex_machine::view::RunFilter;
use apex_machine::{Answer, Config, Refusal, RunId, RunState, history};
use serde_json::json;

const DAY: i64 = 86_400 * crate::world::SECOND;

fn start(world: &mut World, command: StartRun) -> Result<Answer, Refusal> {
    world.ask(Command::StartRun(Box::new(command))).outcome
}

#[test]
fn a_run_of_one_node_records_what_was_resolved_and_completes() {
    let mut world = world(&json!([function("a", json!({"input": {"n": "${inputs.n}"}}))]), &json!([]));
    let run = world.start("w", 1, "{\"n\":41}");
    let started = last(&world, &run, "RunStarted");
    assert_eq!(started["workflow"], "w");
    assert_eq!(started["version"], "1");
    assert_eq!(started["inputs"], json!({"n": 41}));
    assert_eq!(started["labels"], json!({"k": "v"}));
    assert!(started["ir_hash"].as_str().unwrap().starts_with("sha256:"));
    let job = world.job("a");
    assert_eq!(&*job.input, b"{\"n\":41}");
    assert_eq!(job.idempotency_key, format!("{run}/a"));
    assert_eq!(world.state(&run), RunState::Running);
    world.ok("a", "42");
    assert_eq!(world.names(&run), ["RunStarted", "ToolCallRequested", "ToolResultReceived", "WorkflowCompleted"]);
    assert_eq!(last(&world, &run, "WorkflowCompleted")["output"], json!({"a": 42}));
    let view = world.view(&run);
    assert_eq!((view.state, view.offset, view.nodes_done, view.nodes_total), (RunState::Completed, 3, 1, 1));
    assert_eq!(view.correlation, "corr");
}

#[test]
fn a_key_starts_once_also_after_the_end_and_for_seven_days() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let first = start(&mut world, start_command("w", 1, "k", "{}")).unwrap();
    assert!(!first.existing);
    let again = start(&mut world, start_command("w", 2, "k", "{}")).unwrap();
    assert!(again.existing);
    assert_eq!(again.run_id, first.run_id);
    assert_eq!(again.offset, world.view(&first.run_id.unwrap()).offset);
    let mut other = world.start_command("w", 3, "k", "{}");
    other.request_hash = [2; 32];
    assert_eq!(start(&mut world, other.clone()).unwrap_err().code, code::IDEMPOTENCY_KEY_REUSED);
    other.tenant = "u".into();
    assert_eq!(start(&mut world, other).unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    world.ok("a", "1");
    world.now += 6 * DAY;
    let later = start(&mut world, start_command("w", 4, "k", "{}")).unwrap();
    assert!(later.existing && later.state == Some(RunState::Completed));
    world.now += 2 * DAY;
    let new = start(&mut world, start_command("w", 5, "k", "{}")).unwrap();
    assert!(!new.existing);
    assert_ne!(new.run_id, first.run_id);
}

#[test]
fn bad_starts_are_refused_and_record_nothing() {
    let mut world = world_of(json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": [],
        "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}));
    let recorded = world.log.len();
    let refused = start(&mut world, start_command("w", 1, "", "{\"n\":\"x\"}")).unwrap_err();
    assert_eq!(refused.code, code::INPUTS_INVALID);
    let details: serde_json::Value = serde_json::from_slice(&refused.details).unwrap();
    assert_eq!(details["errors"][0]["pointer"], "/n");
    assert_eq!(start(&mut world, start_command("nope", 1, "", "{}")).unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    let mut command = world.start_command("w", 1, "", "{\"n\":1}");
    command.run_id = RunId::new_v7(1, 9, 1);
    assert_eq!(start(&mut world, command).unwrap_err().code, code::PARTITION_UNKNOWN);
    assert_eq!(world.log.len(), recorded);
    world.start("w", 1, "{\"n\":1}");
    assert_eq!(start(&mut world, start_command("w", 1, "", "{\"n\":1}")).unwrap_err().code, code::RUN_EXISTS);
}

#[test]
fn a_goal_is_recorded_before_its_run_and_a_cut_off_one_ends() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let mut command = world.start_command("w", 1, "", "{}");
    command.goal = Some(Goal {
        text: "Book it".into(),
        entities: b"[]".to_vec(),
        template: "Book it".into(),
        source: "cache".into(),
        plan: b"{\"steps\":[]}".to_vec(),
    });
    let run = command.run_id;
    start(&mut world, command).unwrap();
    assert_eq!(world.names(&run)[..3], ["GoalReceived", "PlanGenerated", "RunStarted"]);
    assert_eq!(world.view(&run).goal.as_deref(), Some("Book it"));
    history::check(&world.history(&run)).unwrap();
    // The same log, cut after the goal: the run was never acknowledged, and ends.
    let at = world.seen.iter().position(|event| event.name == "PlanGenerated").unwrap();
    world.log.truncate(at);
    world.seen.truncate(at);
    world.durable = at as u64;
    world.crash(&mut crate::world::Chance(1));
    world.settle(vec![]);
    assert_eq!(world.state(&run), RunState::Failed);
    assert_eq!(last(&world, &run, "WorkflowFailed")["error"]["code"], code::START_INTERRUPTED);
}

#[test]
fn a_run_of_another_tenant_is_not_there() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    assert!(world.machine.run("u", &run).is_none());
    assert!(world.machine.workflows("u").is_empty());
    assert!(world.machine.runs("u", &Default::default(), 10, "").items.is_empty());
    let cancel = Command::CancelRun(apex_machine::command::CancelRun {
        tenant: "u".into(),
        run_id: run,
        reason: String::new(),
        compensate: true,
        by: String::new(),
    });
    assert_eq!(world.ask(cancel).outcome.unwrap_err().code, code::RUN_NOT_FOUND);
}

#[test]
fn runs_are_listed_newest_first_in_pages() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let runs: Vec<RunId> = (0..5).map(|n| world.start("w", n, "{}")).collect();
    world.ok("a", "1");
    let (mut page, mut found) = (String::new(), Vec::new());
    loop {
        let got = world.machine.runs("t", &Default::default(), 2, &page);
        found.extend(got.items.iter().map(|view| view.run_id));
        page = got.next;
        if page.is_empty() {
            break;
        }
    }
    let newest: Vec<RunId> = runs.iter().rev().copied().collect();
    assert_eq!(found, newest);
    let filter = RunFilter { states: vec![RunState::Completed], ..Default::default() };
    assert_eq!(world.machine.runs("t", &filter, 10, "").items.len(), 1);
}

#[test]
fn a_list_holds_the_runs_that_were_asked_for() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    world.register(&json!({"name": "w", "version": "2", "nodes": [function("a", json!({}))]}).to_string());
    world.register(&json!({"name": "x", "version": "1", "nodes": [function("a", json!({}))]}).to_string());
    let mut begin = |n: u64, workflow: &str, version: &str, label: &str| {
        world.now += 10;
        let mut command = world.start_command(workflow, n, "", "{}");
        command.selector = apex_machine::command::Selector::Version(version.into());
        command.labels = vec![("team".into(), label.into()), ("k".into(), "v".into())];
        start(&mut world, command).unwrap().run_id.unwrap()
    };
    let runs = [begin(1, "w", "1", "red"), begin(2, "w", "2", "blue"), begin(3, "x", "1", "red")];
    let began = runs.map(|run| world.view(&run).started_ns);
    let label = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let by = RunFilter::default;
    for (filter, wanted) in [
        (by(), vec![2, 1, 0]),
        (RunFilter { workflow: Some("w".into()), ..by() }, vec![1, 0]),
        (RunFilter { version: Some("1".into()), ..by() }, vec![2, 0]),
        (RunFilter { labels: label("team", "red"), ..by() }, vec![2, 0]),
        (RunFilter { labels: label("k", "v"), ..by() }, vec![2, 1, 0]),
        (RunFilter { labels: label("team", "v"), ..by() }, vec![]),
        (RunFilter { labels: [label("team", "red"), label("k", "w")].concat(), ..by() }, vec![]),
        (RunFilter { started_after_ns: Some(began[1]), ..by() }, vec![2, 1]),
        (RunFilter { started_before_ns: Some(began[1]), ..by() }, vec![0]),
        (RunFilter { states: vec![RunState::Completed], ..by() }, vec![]),
        (RunFilter { states: vec![RunState::Completed, RunState::Running], ..by() }, vec![2, 1, 0]),
        (RunFilter { parent: Some(runs[0]), ..by() }, vec![]),
    ] {
        let found: Vec<RunId> = world.machine.runs("t", &filter, 10, "").items.iter().map(|run| run.run_id).collect();
        assert_eq!(found, wanted.iter().map(|&n: &usize| runs[n]).collect::<Vec<_>>(), "{filter:?}");
    }
}

#[test]
fn a_history_that_is_checked_says_what_was_decided_anew() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let run = world.start("w", 1, "{}");
    world.ok("a", "1");
    let checked = history::check(&world.history(&run)).unwrap();
    assert_eq!(world.names(&run), ["RunStarted", "ToolCallRequested", "ToolResultReceived", "WorkflowCompleted"]);
    assert_eq!((checked.run_id, checked.records), (run, 4));
    assert_eq!(checked.decided, 2, "the call and the end: a start and a result come from outside");
}

#[test]
fn runs_are_open_from_their_start_to_their_end() {
    let mut world = world(&json!([function("a", json!({}))]), &json!([]));
    let mut runs: Vec<RunId> = (0..3).map(|n| world.start("w", n, "{}")).collect();
    let open = |world: &World| {
        let mut open = world.machine.open_runs();
        open.sort_unstable();
        open
    };
    runs.sort_unstable();
    assert_eq!(open(&world), runs);
    let job = world.jobs.values().find(|job| job.run_id == runs[1]).unwrap().clone();
    world.answer(&job, Outcome::Ok(b"1".to_vec()));
    assert_eq!(open(&world), [runs[0], runs[2]]);
}

#[test]
fn a_page_goes_on_where_the_one_before_stopped_looking() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.list_scan_max = 3;
    let mut world = World::new(config);
    world.register(&json!({"name": "w", "version": "1", "nodes": [function("a", json!({}))], "edges": []}).to_string());
    let runs: Vec<RunId> = (0..9).map(|n| world.start("w", n, "{}")).collect();
    let job = world.jobs.values().find(|job| job.run_id == runs[8]).unwrap().clone();
    world.answer(&job, Outcome::Ok(b"1".to_vec()));
    let filter = RunFilter { states: vec![RunState::Completed], ..Default::default() };
    let (mut page, mut pages) = (String::new(), Vec::new());
    loop {
        let got = world.machine.runs("t", &filter, 2, &page);
        pages.push(got.items.iter().map(|view| view.run_id).collect::<Vec<_>>());
        page = got.next;
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec![runs[8]], vec![], vec![]], "nine are looked through, three at a time");
}
