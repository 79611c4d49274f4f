//! Patches that a policy holds for a person.

use crate::last;
use crate::patch::{adds, applied, begun, command, open, patch, plain, refused, roll_back, row, send};
use crate::world::{Chance, World};
use apex_ir::overlay::Grant;
use apex_machine::command::{
    ApplyPatch, ApprovePatch, Command, MigrateRun, PatchPolicy, PatchRule, PatchRules, Selector,
};
use apex_machine::{Config, Reply, RunId, RunState, history};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn holding(grant: Grant) -> Arc<PatchRules> {
    let client = PatchRule { policy: PatchPolicy::Approve, grant };
    Arc::new(PatchRules { client, ..PatchRules::open() })
}

fn held(run: RunId, operations: &Value) -> ApplyPatch {
    ApplyPatch { rules: holding(Grant::all()), ..command(run, operations) }
}

fn decide(world: &mut World, patch_id: &str, approve: bool) -> Reply {
    let (tenant, patch_id, reason, by) = ("t".into(), patch_id.into(), "well".into(), "boss".into());
    let rules = holding(Grant::all());
    world.ask(Command::ApprovePatch(ApprovePatch { tenant, patch_id, approve, reason, by, rules }))
}

/// Id, state, and whether it was so before.
fn stands(reply: Reply) -> (String, String, bool) {
    let answer = reply.outcome.unwrap();
    let details: Value = serde_json::from_slice(&answer.details).unwrap();
    let text = |name: &str| details[name].as_str().unwrap().to_owned();
    (text("patch_id"), text("state"), answer.existing)
}

#[test]
fn it_changes_nothing_until_a_person_lets_it_through() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let hash = world.view(&run).ir_hash;
    let (id, state, _) = stands(send(&mut world, held(run, &adds("x", "a"))));
    assert_eq!((id.clone(), state.as_str()), (format!("{run}~p1"), "PROPOSED"));
    assert_eq!((world.view(&run).epoch, world.view(&run).ir_hash), (0, hash));
    let proposed = last(&world, &run, "PatchProposed");
    assert_eq!((&proposed["author"], &proposed["patch"]), (&json!("me"), &adds("x", "a")));
    world.ok("a", "1");
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned()]));
    assert_eq!(stands(decide(&mut world, &id, true)), (id.clone(), "APPLIED".into(), false));
    assert_eq!(open(&world), BTreeSet::from(["b".to_owned(), "x".to_owned()]));
    let event = last(&world, &run, "PatchApplied");
    assert_eq!(
        (&event["approved_by"], &event["approval_reason"], &event["number"]),
        (&json!("boss"), &json!("well"), &json!(1))
    );
    assert_eq!(stands(decide(&mut world, &id, true)), (id.clone(), "APPLIED".into(), true), "the same answer again");
    assert_eq!(refused(decide(&mut world, &id, false)).code, "WRONG_STATE");
    for unknown in [format!("{run}~p9"), format!("{run}~p0"), "nothing".into()] {
        assert_eq!(refused(decide(&mut world, &unknown, true)).code, "PATCH_NOT_FOUND");
    }
    world.ok("b", "1");
    world.ok("x", "1");
    assert_eq!(world.state(&run), RunState::Completed);
    assert_eq!(refused(decide(&mut world, &id, true)).code, "RUN_ENDED");
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn a_person_rejects_it_and_its_key_still_gives_that_answer() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let keyed = || ApplyPatch { idempotency_key: "k".into(), ..held(run, &adds("x", "a")) };
    let (id, ..) = stands(send(&mut world, keyed()));
    assert_eq!(stands(send(&mut world, keyed())), (id.clone(), "PROPOSED".into(), true));
    assert_eq!(stands(decide(&mut world, &id, false)), (id.clone(), "REJECTED".into(), false));
    assert_eq!(stands(decide(&mut world, &id, false)), (id.clone(), "REJECTED".into(), true));
    assert_eq!(refused(decide(&mut world, &id, true)).code, "WRONG_STATE");
    assert_eq!(stands(send(&mut world, keyed())), (id, "REJECTED".into(), true));
    let other = ApplyPatch { operations: adds("y", "a").to_string().into_bytes(), ..keyed() };
    assert_eq!(refused(send(&mut world, other)).code, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!((&last(&world, &run, "PatchRejected")["by"], world.view(&run).epoch), (&json!("boss"), 0));
    let (second, _) = applied(patch(&mut world, run, &adds("x", "a")));
    assert_eq!(second, format!("{run}~p2"), "a number is given once");
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn its_key_gives_the_same_patch_also_when_it_is_applied() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let keyed = || ApplyPatch { idempotency_key: "k".into(), ..held(run, &adds("x", "a")) };
    let (id, ..) = stands(send(&mut world, keyed()));
    decide(&mut world, &id, true).outcome.unwrap();
    assert_eq!(stands(send(&mut world, keyed())), (id, "APPLIED".into(), true));
    let next = || ApplyPatch { idempotency_key: "next".into(), ..held(run, &adds("z", "a")) };
    let (second, ..) = stands(send(&mut world, next()));
    assert_eq!(second, format!("{run}~p2"), "another key of the same author");
    assert_eq!(stands(send(&mut world, next())), (second, "PROPOSED".into(), true));
    let third = ApplyPatch { idempotency_key: "third".into(), ..held(run, &adds("q", "a")) };
    assert_eq!(stands(send(&mut world, third)).0, format!("{run}~p3"), "also while one waits");
    let other = ApplyPatch { operations: adds("y", "a").to_string().into_bytes(), ..keyed() };
    assert_eq!(refused(send(&mut world, other)).code, "IDEMPOTENCY_KEY_REUSED");
}

#[test]
fn it_passes_the_gates_again_and_stays_where_it_is_refused() {
    let (mut world, run) = begun(row(&["a", "b", "c"]));
    let renames = |name: &str| json!([{"op": "replace", "path": "/nodes/1/config/name", "value": name}]);
    let (id, ..) = stands(send(&mut world, held(run, &renames("f1"))));
    let (beside, ..) = stands(send(&mut world, held(run, &adds("x", "c"))));
    let (rival, _) = applied(patch(&mut world, run, &renames("f2")));
    let conflict = refused(decide(&mut world, &id, true));
    assert_eq!(conflict.code, "PATCH_CONFLICT");
    assert!(String::from_utf8(conflict.details).unwrap().contains(&rival));
    // What touches something else is rebased.
    assert_eq!(stands(decide(&mut world, &beside, true)).1, "APPLIED");
    // A patch that was dropped since changed it, too.
    applied(roll_back(&mut world, &rival));
    assert_eq!(refused(decide(&mut world, &id, true)).code, "PATCH_CONFLICT");
    let (late, ..) = stands(send(&mut world, held(run, &renames("f3"))));
    world.ok("a", "1");
    assert_eq!(refused(decide(&mut world, &late, true)).code, "PATCH_MEANING_REFUSED", "b has begun");
    assert_eq!(stands(decide(&mut world, &late, false)).1, "REJECTED");
    assert_eq!(stands(decide(&mut world, &id, false)).1, "REJECTED");
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn what_its_author_may_reach_is_asked_again() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let (id, ..) = stands(send(&mut world, held(run, &adds("other", "b"))));
    let (tenant, reason, by) = ("t".into(), String::new(), String::new());
    let rules = holding(Grant::default());
    let narrow = ApprovePatch { tenant, patch_id: id, approve: true, reason, by, rules };
    assert_eq!(refused(world.ask(Command::ApprovePatch(narrow))).code, "PATCH_SECURITY_REFUSED");
}

#[test]
fn how_many_wait_is_bounded_and_what_was_decided_makes_room() {
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.proposals_per_run_max = 1;
    config.limits.patched_nodes_max = 2;
    let mut world = World::new(config);
    world.register(&row(&["a", "b"]).to_string());
    let run = world.start("w", 1, "{}");
    let (first, ..) = stands(send(&mut world, held(run, &adds("x", "b"))));
    assert_eq!(refused(send(&mut world, held(run, &adds("y", "b")))).message, "over proposals_per_run_max (1)");
    decide(&mut world, &first, false).outcome.unwrap();
    let (second, ..) = stands(send(&mut world, held(run, &adds("y", "b"))));
    let two = json!([{"op": "add", "path": "/nodes/-", "value": plain("p")},
        {"op": "add", "path": "/nodes/-", "value": plain("q")}]);
    let over = refused(patch(&mut world, run, &two));
    assert_eq!(
        (over.code, over.message.as_str()),
        ("LIMIT_EXCEEDED", "over patched_nodes_max (2): patches of the run have added 1 nodes, and this one adds 2"),
        "what waits counts"
    );
    assert_eq!(stands(decide(&mut world, &second, true)).1, "APPLIED");
}

#[test]
fn a_bound_on_patches_lets_through_what_just_fits() {
    // One that waits for a person, then two that do not: how many are taken.
    let taken = |limit: &str, value: usize| {
        let mut config = Config { partitions: 4, ..Config::default() };
        assert!(config.limits.set(limit, value as i64), "{limit}");
        let mut world = World::new(config);
        world.register(&row(&["a", "b"]).to_string());
        let run = world.start("w", 1, "{}");
        let commands = [held(run, &adds("x", "b")), command(run, &adds("y", "b")), command(run, &adds("z", "b"))];
        let outcomes: Vec<_> = commands.into_iter().map(|command| send(&mut world, command).outcome).collect();
        for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(refusal.message.contains(limit), "{}", refusal.message);
        }
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        (taken, last(&world, &run, if taken > 0 { "PatchProposed" } else { "RunStarted" }))
    };
    let (all, proposed) = taken("items_max", 1);
    assert_eq!(all, 3);
    let bytes = proposed["operations"].to_string().len();
    for (limit, value, wanted) in [
        ("patches_per_run_max", 2, 2),
        ("patched_nodes_max", 2, 2),
        ("patch_nodes_max", 1, 3),
        ("patched_bytes_max", 2 * bytes, 2),
        ("patched_bytes_max", 2 * bytes - 1, 1),
        ("patched_bytes_max", bytes - 1, 0),
    ] {
        assert_eq!(taken(limit, value).0, wanted, "{limit} {value}");
    }
}

#[test]
fn it_is_kept_over_a_crash_and_a_move_ends_it() {
    for seed in 0..20 {
        let (mut world, run) = begun(row(&["a", "b"]));
        let mut next = row(&["a", "b", "c"]);
        next["version"] = json!("2");
        world.register(&next.to_string());
        let (id, ..) = stands(send(&mut world, held(run, &adds("x", "a"))));
        world.crash(&mut Chance(seed));
        world.settle(Vec::new());
        if seed % 2 == 0 {
            assert_eq!(stands(decide(&mut world, &id, true)).1, "APPLIED");
        } else {
            let selector = Selector::Version("2".into());
            let moved = MigrateRun { tenant: "t".into(), run_id: run, selector, by: String::new() };
            world.ask(Command::MigrateRun(moved)).outcome.unwrap();
            assert_eq!(refused(decide(&mut world, &id, true)).code, "PATCH_CONFLICT");
        }
        while let Some(job) = world.jobs.values().next().cloned() {
            world.ok(&job.node, "1");
        }
        assert_eq!(world.state(&run), RunState::Completed);
        history::check(&world.history(&run)).unwrap();
    }
}

#[test]
fn a_policy_may_refuse_all() {
    let (mut world, run) = begun(row(&["a"]));
    let client = PatchRule { policy: PatchPolicy::Refuse, grant: Grant::all() };
    let rules = Arc::new(PatchRules { client, ..PatchRules::open() });
    let refused = refused(send(&mut world, ApplyPatch { rules: rules.clone(), ..command(run, &adds("x", "a")) }));
    assert_eq!(refused.code, "PATCH_SECURITY_REFUSED");
    assert!(refused.message.contains("patches.client_policy"), "{}", refused.message);
    applied(send(&mut world, ApplyPatch { rules, author: "optimizer:p@1".into(), ..command(run, &adds("x", "a")) }));
}

#[test]
fn what_a_pass_proved_is_let_through_in_its_epoch_only() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let optimizer = PatchRule { policy: PatchPolicy::Approve, grant: Grant::all() };
    let rules = Arc::new(PatchRules { optimizer, ..PatchRules::open() });
    let proved = |id: &str| ApplyPatch {
        rules: rules.clone(),
        author: "optimizer:p@1".into(),
        exact: true,
        ..command(run, &adds(id, "b"))
    };
    let (first, ..) = stands(send(&mut world, proved("x")));
    let (second, ..) = stands(send(&mut world, proved("y")));
    assert_eq!(stands(decide(&mut world, &first, true)).1, "APPLIED");
    assert_eq!(refused(decide(&mut world, &second, true)).code, "PATCH_CONFLICT", "although they touch other nodes");
    assert_eq!(stands(decide(&mut world, &second, false)).1, "REJECTED");
    history::check(&world.history(&run)).unwrap();
}

#[test]
fn one_that_is_let_through_says_what_it_was_made_on() {
    let (mut world, run) = begun(row(&["a", "b"]));
    applied(patch(&mut world, run, &adds("x", "a")));
    let (id, ..) = stands(send(&mut world, ApplyPatch { base_epoch: Some(1), ..held(run, &adds("y", "a")) }));
    applied(patch(&mut world, run, &adds("z", "a")));
    decide(&mut world, &id, true).outcome.unwrap();
    let event = last(&world, &run, "PatchApplied");
    assert_eq!((&event["number"], &event["epoch"], &event["base_epoch"]), (&json!(2), &json!(3), &json!(1)));
}
