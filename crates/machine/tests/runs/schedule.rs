use crate::world::{SECOND, World, put_schedule};
use crate::{function, world_of};
use apex_machine::command::{ChangeSchedule, Command, Overlap, PutSchedule, ScheduleChange, Selector, Timing};
use apex_machine::error::code;
use apex_machine::{Answer, Refusal, RunId, RunState};
use serde_json::{Value, json};

const HOUR: i64 = 3_600 * SECOND;

fn world() -> World {
    let inputs = json!({"type": "object", "properties": {"x": {"type": "integer"}, "at": {"type": "string"}},
        "additionalProperties": false});
    world_of(json!({"name": "w", "version": "1", "inputs": inputs, "edges": [], "nodes": [function("a", json!({}))]}))
}

fn every(overlap: Overlap) -> PutSchedule {
    put_schedule("s", Timing::Every(60 * SECOND), overlap)
}

fn put(world: &mut World, command: PutSchedule) -> Result<Answer, Refusal> {
    world.ask(Command::PutSchedule(Box::new(command))).outcome
}

fn change(world: &mut World, change: ScheduleChange) -> Result<Answer, Refusal> {
    world.ask(Command::ChangeSchedule(ChangeSchedule { tenant: "t".into(), name: "s".into(), change })).outcome
}

/// (time in seconds, action) of every firing so far.
fn fired(world: &World) -> Vec<(i64, String)> {
    let events = world.seen.iter().filter(|event| event.name == "ScheduleFired");
    events.map(|event| (seconds(&event.payload["time"]), event.payload["action"].as_str().unwrap().into())).collect()
}

fn seconds(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    assert!(text.starts_with("1970-01-01T"), "{text}");
    let part = |at: usize| text[at..at + 2].parse::<i64>().unwrap();
    part(11) * 3_600 + part(14) * 60 + part(17)
}

fn runs(world: &World) -> Vec<RunId> {
    world.seen.iter().filter(|event| event.name == "RunStarted").map(|event| event.run_id).collect()
}

fn named(fired: &[(i64, String)]) -> Vec<(i64, &str)> {
    fired.iter().map(|(time, action)| (*time, action.as_str())).collect()
}

#[test]
fn it_starts_a_run_at_each_time_with_what_was_put() {
    let mut world = world();
    let mut command = every(Overlap::Skip);
    command.inputs = b"{\"x\": 7 }".to_vec();
    command.time_input = "at".into();
    command.labels = vec![("team".into(), "ops".into())];
    assert!(!put(&mut world, command.clone()).unwrap().existing);
    assert!(put(&mut world, command).unwrap().existing, "the same again changes nothing");
    assert_eq!(world.machine.next_due(), Some(60 * SECOND));
    world.tick_next();
    let run = runs(&world)[0];
    assert_eq!(run.unix_ms(), 60_000, "an id says when");
    let view = world.view(&run);
    assert_eq!(view.labels, [("schedule".into(), "s".into()), ("team".into(), "ops".into())]);
    let started = crate::last(&world, &run, "RunStarted");
    assert_eq!(started["inputs"], json!({"x": 7, "at": "1970-01-01T00:01:00.000000000Z"}));
    assert_eq!(started["schedule"], "s");
    world.ok("a", "1");
    world.tick_next();
    assert_eq!(named(&fired(&world)), [(60, "started"), (120, "started")]);
    let shown = world.machine.schedule("t", "s").unwrap();
    assert_eq!((shown.next_ns, shown.runs_open), (Some(180 * SECOND), 1));
    assert_eq!(shown.upcoming_ns, [180, 240, 300, 360, 420].map(|n| n * SECOND));
    let last = shown.last.unwrap();
    assert_eq!((last.action.as_str(), last.time_ns), ("started", 120 * SECOND));
    assert_eq!(last.run_id, runs(&world)[1].to_string());
    assert!(world.machine.schedule("other", "s").is_none(), "invariant 9");
}

#[test]
fn while_a_run_is_open_the_policy_decides() {
    for (overlap, expected) in [
        (Overlap::Skip, ["started", "skipped", "skipped"]),
        (Overlap::BufferOne, ["started", "buffered", "skipped"]),
        (Overlap::Allow, ["started", "started", "started"]),
    ] {
        let mut world = world();
        put(&mut world, every(overlap)).unwrap();
        (0..3).for_each(|_| world.tick_next());
        let actions: Vec<String> = fired(&world).into_iter().map(|(_, action)| action).collect();
        assert_eq!(actions, expected);
    }
}

#[test]
fn a_buffered_time_fires_when_the_run_ends() {
    let mut world = world();
    put(&mut world, every(Overlap::BufferOne)).unwrap();
    (0..3).for_each(|_| world.tick_next());
    assert_eq!(world.machine.schedule("t", "s").unwrap().buffered_ns, Some(120 * SECOND));
    world.ok("a", "1");
    assert!(world.machine.next_due().unwrap() <= world.now, "at once, not at the next time");
    world.tick_at(world.now);
    assert_eq!(named(&fired(&world))[3], (120, "started"));
    let shown = world.machine.schedule("t", "s").unwrap();
    assert_eq!((shown.buffered_ns, shown.next_ns), (None, Some(240 * SECOND)));
}

#[test]
fn after_downtime_what_is_not_too_late_is_caught_up() {
    let mut world = world();
    let mut command = every(Overlap::Allow);
    command.catch_up_ns = 150 * SECOND;
    put(&mut world, command).unwrap();
    world.tick_at(HOUR);
    // 57:30 to 60:00 is within the window; everything before it is one record.
    assert_eq!(named(&fired(&world)), [(60, "missed"), (3_480, "started"), (3_540, "started"), (3_600, "started")]);
}

#[test]
fn paused_it_starts_nothing_and_does_not_catch_up() {
    let mut world = world();
    put(&mut world, every(Overlap::Allow)).unwrap();
    change(&mut world, ScheduleChange::Pause).unwrap();
    assert!(change(&mut world, ScheduleChange::Pause).unwrap().existing);
    assert_eq!((world.machine.next_due(), world.machine.schedule("t", "s").unwrap().next_ns), (None, None));
    world.tick_at(HOUR);
    let mut other = every(Overlap::Skip);
    other.jitter_ns = 5 * SECOND;
    put(&mut world, other).unwrap();
    assert!(world.machine.schedule("t", "s").unwrap().paused, "putting it again does not resume it");
    change(&mut world, ScheduleChange::Resume).unwrap();
    assert_eq!(fired(&world), []);
    assert_eq!(world.machine.schedule("t", "s").unwrap().next_ns, Some(HOUR + 60 * SECOND));
    let due = world.machine.next_due().unwrap();
    assert!((0..5 * SECOND).contains(&(due - HOUR - 60 * SECOND)), "jitter: {due}");
}

#[test]
fn removed_it_is_gone_and_its_runs_go_on() {
    let mut world = world();
    put(&mut world, every(Overlap::Skip)).unwrap();
    world.tick_next();
    change(&mut world, ScheduleChange::Remove).unwrap();
    assert_eq!(change(&mut world, ScheduleChange::Remove).unwrap_err().code, code::SCHEDULE_NOT_FOUND);
    assert_eq!((world.machine.next_due(), world.machine.counts().schedules), (None, 0));
    // Put again, it knows of the run that the first one started.
    put(&mut world, every(Overlap::Skip)).unwrap();
    world.tick_next();
    assert_eq!(named(&fired(&world)), [(60, "started"), (120, "skipped")]);
    world.ok("a", "1");
    assert_eq!(world.state(&runs(&world)[0]), RunState::Completed);
}

#[test]
fn a_start_that_is_refused_is_told_and_the_schedule_goes_on() {
    let mut world = world();
    put(&mut world, every(Overlap::Allow)).unwrap();
    let stricter = json!({"name": "w", "version": "2", "edges": [], "nodes": [function("a", json!({}))],
        "inputs": {"type": "object", "properties": {"x": {"type": "string"}}}});
    let definition = stricter.to_string().into_bytes();
    let tag = Some("main".to_owned());
    let register = apex_machine::command::RegisterWorkflow { tenant: "t".into(), definition, tag };
    world.ask(Command::RegisterWorkflow(register)).outcome.unwrap();
    (0..2).for_each(|_| world.tick_next());
    assert_eq!(named(&fired(&world)), [(60, "failed"), (120, "failed")]);
    let (code, _) = world.machine.schedule("t", "s").unwrap().last.unwrap().error.unwrap();
    assert_eq!(code, code::INPUTS_INVALID);
}

#[test]
fn a_crash_between_the_start_and_its_record_starts_nothing_twice() {
    let mut world = world();
    put(&mut world, every(Overlap::Allow)).unwrap();
    world.now = 60 * SECOND;
    world.turn(vec![(0, Command::Tick)]);
    let started = world.seen.iter().position(|event| event.name == "RunStarted").unwrap();
    assert_eq!(world.seen[started + 1].name, "ScheduleFired");
    let run = runs(&world)[0];
    world.log.truncate(started + 1);
    world.seen.truncate(started + 1);
    world.durable = world.log.len() as u64;
    world.crash(&mut crate::world::Chance(1));
    world.tick_next();
    assert_eq!(runs(&world), [run]);
    assert_eq!(named(&fired(&world)), [(60, "started")]);
    assert_eq!(world.machine.schedule("t", "s").unwrap().last.unwrap().run_id, run.to_string());
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let mut world = world();
    let mut refused = |change: &dyn Fn(&mut PutSchedule)| {
        let mut command = every(Overlap::Skip);
        change(&mut command);
        put(&mut world, command).unwrap_err()
    };
    let cron =
        |expression: &str, time_zone: &str| Timing::Cron { expression: expression.into(), time_zone: time_zone.into() };
    type Change<'a> = &'a dyn Fn(&mut PutSchedule);
    let cases: [(&str, Change<'_>); 8] = [
        ("/name", &|c| c.name = "a b".into()),
        ("/cron", &|c| c.timing = cron("61 * * * *", "")),
        ("/time_zone", &|c| c.timing = cron("* * * * *", "Mars/Olympus")),
        ("/every_s", &|c| c.timing = Timing::Every(1)),
        ("/jitter_s", &|c| c.jitter_ns = -1),
        ("/inputs", &|c| c.inputs = b"[]".to_vec()),
        ("/time_input", &|c| c.time_input = "x".into()),
        ("/labels", &|c| c.labels = vec![("schedule".into(), "x".into())]),
    ];
    for (pointer, change) in cases {
        let refusal = refused(change);
        assert_eq!(refusal.code, code::SCHEDULE_INVALID, "{pointer}");
        let details: Value = serde_json::from_slice(&refusal.details).unwrap();
        assert_eq!(details["errors"][0]["pointer"], pointer);
    }
    assert_eq!(refused(&|c| c.workflow = "nope".into()).code, code::WORKFLOW_NOT_FOUND);
    assert_eq!(refused(&|c| c.selector = Selector::Tag("nope".into())).code, code::WORKFLOW_NOT_FOUND);
    assert_eq!(refused(&|c| c.inputs = b"{\"x\":\"no\"}".to_vec()).code, code::INPUTS_INVALID);
    assert_eq!(refused(&|c| c.inputs = vec![b' '; 70_000]).code, code::LIMIT_EXCEEDED);
    assert!(world.machine.schedules("t", 10, "").items.is_empty());
}

#[test]
fn lists_are_paged_by_name_and_bounded() {
    let mut world = world();
    world.config.limits.schedules_per_tenant_max = 3;
    world.machine = apex_machine::Machine::restore(world.config.clone(), &world.machine.snapshot()).unwrap();
    for name in ["c", "a", "b"] {
        put(&mut world, put_schedule(name, Timing::Every(SECOND), Overlap::Skip)).unwrap();
    }
    let over = put(&mut world, put_schedule("d", Timing::Every(SECOND), Overlap::Skip)).unwrap_err();
    assert_eq!(over.code, code::LIMIT_EXCEEDED);
    let first = world.machine.schedules("t", 2, "");
    assert_eq!(first.items.iter().map(|view| view.spec.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let second = world.machine.schedules("t", 2, &first.next);
    assert_eq!((second.items[0].spec.name.as_str(), second.next.as_str()), ("c", ""));
}
