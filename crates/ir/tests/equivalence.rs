//! Patches of an optimizer: what is proved holds in an interpreter that was written apart.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/difference.rs"]
mod difference;
#[path = "support/interpreter.rs"]
mod interpreter;
#[path = "support/passes.rs"]
mod passes;
#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;

use apex_ir::equivalence::check_equivalence;
use apex_ir::{Ir, Limits, compile};
use difference::difference;
use random::Random;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn compiled(definition: &Json) -> Option<Ir> {
    compile(definition.to_string().as_bytes(), None, &Limits::default()).ok()
}

/// `CODE pointer` of each doubt.
fn doubts(before: &Json, after: &Json) -> Vec<String> {
    let ir = |definition: &Json| {
        compile(definition.to_string().as_bytes(), None, &Limits::default())
            .unwrap_or_else(|faults| panic!("{faults:#?}"))
    };
    let found = check_equivalence(&ir(before), &ir(after)).err().unwrap_or_default();
    found.iter().map(|doubt| format!("{} {}", doubt.code, doubt.pointer)).collect()
}

/// Pairs of definitions; more of them with `APEX_EQUIVALENCE_PAIRS`, from seed `APEX_EQUIVALENCE_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("APEX_EQUIVALENCE_SEED").unwrap_or(0);
    first..first + number("APEX_EQUIVALENCE_PAIRS").unwrap_or(10_000)
}

type Pass = fn(&mut Random, &Json) -> Option<Json>;
const PASSES: [(&str, Pass); 4] = [
    ("dead-path", passes::dead_path),
    ("common-subexpression", passes::common),
    ("predicate-pushdown", passes::pushdown),
    ("parallelize", passes::parallelize),
];

#[test]
fn what_is_proved_holds_and_what_differs_is_refused() {
    let (mut proved, mut refused): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
    let mut differing = 0;
    for seed in seeds() {
        let random = &mut Random(seed);
        let before = passes::definition(random);
        let Some(old) = compiled(&before) else { continue };
        let first = random.below(PASSES.len());
        let mut passes = PASSES.iter().cycle().skip(first).take(PASSES.len());
        let found = passes.find_map(|(name, pass)| Some((*name, pass(random, &before)?)));
        let (name, mut after) = found.unwrap_or_else(|| ("nothing", before.clone()));
        let name = if random.chance(50) {
            passes::mutate(random, &mut after);
            "mutated"
        } else {
            name
        };
        let Some(new) = compiled(&after) else { continue };
        let check = check_equivalence(&old, &new);
        // What is proved is looked at in more worlds than what is only counted.
        let worlds = if check.is_ok() { 10 } else { 2 };
        let found =
            (0..worlds).find_map(|world| difference(&before, &after, seed + world, [0, 15, 0, 40][world as usize % 4]));
        if let (Ok(()), Some(difference)) = (&check, &found) {
            panic!("seed {seed}: {name} is proved, but {difference}\n{before}\n{after}");
        }
        differing += usize::from(found.is_some());
        let count = if check.is_ok() { &mut proved } else { &mut refused };
        *count.entry(name).or_default() += 1;
    }
    println!("proved {proved:?}, refused {refused:?}, differing {differing}");
    for (name, _) in PASSES {
        let refused = refused.get(name).copied().unwrap_or_default();
        assert!(proved[name] > refused, "{name}: proved {}, refused {refused}", proved[name]);
    }
    assert!(differing > seeds().count() / 10, "{differing} differ");
}

/// A call by its effect.
fn call(id: &str, effect: &str, x: Json) -> Json {
    json!({"id": id, "type": "function", "config": {"name": "f"}, "input": {"x": x}, "effect": effect})
}

fn edge(from: &str, to: &str) -> Json {
    json!({"from": from, "to": to})
}

fn when(from: &str, to: &str, guard: &str) -> Json {
    json!({"from": from, "to": to, "when": guard})
}

fn flow(nodes: &[Json], edges: &[Json], output: Json) -> Json {
    json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges, "output": output})
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_call_that_nobody_reads_is_left_out() {
    let write = || call("w", "write", json!("${nodes.a.output.k}"));
    let nodes = [call("a", "pure", json!(1)), call("b", "read", json!(2)), write()];
    let before = flow(&nodes, &[edge("a", "w"), edge("a", "b")], json!(null));
    let after = flow(&[nodes[0].clone(), write()], &[edge("a", "w")], json!(null));
    assert_eq!(doubts(&before, &after), NOTHING);
    assert_eq!(doubts(&after, &before), ["CALL_ADDED /nodes/1"]);
    // Without an output the leaves are the output.
    let leaves = |definition: &Json| {
        let mut definition = definition.clone();
        definition.as_object_mut().unwrap().remove("output");
        definition
    };
    assert_eq!(doubts(&leaves(&before), &leaves(&after)), ["OUTPUT_CHANGED /output"]);
    // A write is never left out, and nothing is that has to be undone.
    let dropped = flow(&nodes[..2], &[edge("a", "b")], json!(null));
    assert_eq!(doubts(&before, &dropped), ["CALL_DROPPED "]);
    let mut undone = before.clone();
    undone["nodes"][1]["compensation"] = json!({"name": "u", "input": {}});
    assert_eq!(doubts(&undone, &after), ["CALL_DROPPED "]);
}

#[test]
fn equal_calls_are_done_once() {
    let read = |from: &str| json!([format!("${{nodes.{from}.output.k}}"), 1]);
    let nodes = [
        call("a", "pure", json!(1)),
        call("b", "pure", json!(1)),
        call("c", "pure", read("a")),
        call("d", "pure", read("b")),
    ];
    let edges = [edge("a", "c"), edge("b", "d")];
    let before = flow(&nodes, &edges, json!({"c": "${nodes.c.output}", "d": "${nodes.d.output}"}));
    // a and b are one; with that c and d are one.
    let after = flow(
        &[nodes[0].clone(), nodes[2].clone()],
        &edges[..1],
        json!({"c": "${nodes.c.output}", "d": "${nodes.c.output}"}),
    );
    assert_eq!(doubts(&before, &after), NOTHING);
    // But not with another input, another function, or other tries.
    for (member, value) in [
        ("input", json!({"x": 2})),
        ("config", json!({"name": "g"})),
        ("retry", json!({"max_attempts": 2})),
        ("timeout_s", json!(1)),
    ] {
        let mut other = before.clone();
        other["nodes"][1][member] = value;
        assert_eq!(doubts(&other, &after), ["OUTPUT_CHANGED /output"]);
    }
    // Two questions to a model are two answers.
    let agent = |id: &str| json!({"id": id, "type": "agent", "config": {"prompt": "?"}});
    let output = |a: &str, b: &str| json!([format!("${{nodes.{a}.output}}"), format!("${{nodes.{b}.output}}")]);
    let before = flow(&[agent("a"), agent("b")], &[], output("a", "b"));
    assert_eq!(doubts(&before, &flow(&[agent("a")], &[], output("a", "a"))), ["OUTPUT_CHANGED /output"]);
}

#[test]
fn equal_requests_are_one_unless_something_is_written_between() {
    let get = |id: &str| json!({"id": id, "type": "http", "config": {"url": "https://example.com/${inputs.x}"}});
    let output =
        |a: &str, b: &str| json!([format!("${{nodes.{a}.output.body}}"), format!("${{nodes.{b}.output.body}}")]);
    let before = flow(&[get("a"), get("b")], &[], output("a", "b"));
    let after = flow(&[get("a")], &[], output("a", "a"));
    assert_eq!(doubts(&before, &after), NOTHING);
    let nodes = [get("a"), call("w", "write", json!(1)), get("b")];
    let before = flow(&nodes, &[edge("a", "w"), edge("w", "b")], output("a", "b"));
    let after = flow(&nodes[..2], &[edge("a", "w")], output("a", "a"));
    assert_eq!(doubts(&before, &after), ["OUTPUT_CHANGED /output"]);
    // Nor does a read move to the other side of a write.
    let moved = flow(&nodes, &[edge("a", "w"), edge("a", "b")], output("a", "b"));
    assert_eq!(doubts(&before, &moved), ["OUTPUT_CHANGED /output"]);
}

#[test]
fn a_guard_moves_before_a_call_that_it_does_not_ask_about() {
    let nodes =
        [call("a", "pure", json!(1)), call("b", "read", json!(2)), call("w", "write", json!("${nodes.b.output.k}"))];
    let guard = "nodes.a.output.b0";
    let before = flow(&nodes, &[edge("a", "b"), when("b", "w", guard)], json!("${nodes.a.output}"));
    let after = flow(&nodes, &[when("a", "b", guard), edge("b", "w")], json!("${nodes.a.output}"));
    assert_eq!(doubts(&before, &after), NOTHING);
    // The way back makes a call in cases in which there was none.
    assert_eq!(doubts(&after, &before), ["CALL_ADDED /nodes/1"]);
    // What reads b in all cases would read null.
    let reading = |definition: &Json| flow(&nodes, definition["edges"].as_array().unwrap(), json!("${nodes.b.output}"));
    assert_eq!(doubts(&reading(&before), &reading(&after)), ["OUTPUT_CHANGED /output"]);
    // No write loses its guard, gets one, or has another one.
    let edges = |second: Json| flow(&nodes, &[edge("a", "b"), second], json!("${nodes.a.output}"));
    assert_eq!(doubts(&before, &edges(edge("b", "w"))), ["CONDITION_CHANGED /nodes/2"]);
    assert_eq!(doubts(&edges(edge("b", "w")), &before), ["CONDITION_CHANGED /nodes/2", "GUARD_ADDED /edges/1/when"]);
    let other = edges(when("b", "w", "nodes.a.output.b1"));
    assert_eq!(doubts(&before, &other), ["CONDITION_CHANGED /nodes/2", "GUARD_ADDED /edges/1/when"]);
}

#[test]
fn calls_without_effect_start_together_and_writes_keep_their_order() {
    let nodes = [
        call("w", "write", json!(0)),
        call("a", "pure", json!(1)),
        call("b", "pure", json!(2)),
        call("v", "write", json!(3)),
    ];
    let chain = flow(&nodes, &[edge("w", "a"), edge("a", "b"), edge("b", "v")], json!(null));
    let fork = flow(&nodes, &[edge("w", "a"), edge("w", "b"), edge("a", "v"), edge("b", "v")], json!(null));
    assert_eq!(doubts(&chain, &fork), NOTHING);
    assert_eq!(doubts(&fork, &chain), NOTHING);
    // b before w: where b fails, w would not have been done.
    let early = flow(&nodes, &[edge("w", "a"), edge("a", "v"), edge("b", "v")], json!(null));
    assert_eq!(doubts(&chain, &early), ["CALL_ADDED /nodes/2"]);
    // v without waiting for b: where b fails, v would be done.
    let late = flow(&nodes, &[edge("w", "a"), edge("w", "b"), edge("a", "v")], json!(null));
    assert_eq!(doubts(&chain, &late), ["ORDER_CHANGED /nodes/3"]);
    let concurrent = flow(&nodes, &[edge("w", "a"), edge("w", "b")], json!(null));
    assert_eq!(doubts(&chain, &concurrent), ["ORDER_CHANGED /nodes/3", "ORDER_CHANGED /nodes/3"]);
    // An order that was not there is no meaning that was there.
    let (one, two) = (call("w", "write", json!(0)), call("v", "write", json!(1)));
    let free = flow(&[one.clone(), two.clone()], &[], json!(null));
    assert_eq!(doubts(&free, &flow(&[one, two], &[edge("w", "v")], json!(null))), ["ORDER_CHANGED /nodes/1"]);
}

#[test]
fn a_write_is_what_it_was() {
    let base = flow(&[call("w", "write", json!(0))], &[], json!("${nodes.w.output}"));
    for (pointer, value) in [
        ("/nodes/0/input/x", json!(1)),
        ("/nodes/0/config/name", json!("g")),
        ("/nodes/0/retry", json!({"max_attempts": 2})),
        ("/nodes/0/compensation", json!({"name": "u", "input": {}})),
        ("/nodes/0/concurrency_key", json!("k")),
        ("/nodes/0/priority", json!("high")),
        ("/nodes/0/on_error", json!("continue")),
    ] {
        let mut after = base.clone();
        let (holder, name) = pointer.rsplit_once('/').unwrap();
        after.pointer_mut(holder).unwrap()[name] = value;
        assert!(doubts(&base, &after).contains(&"CALL_CHANGED /nodes/0".to_owned()), "{pointer}");
    }
    let mut weaker = base.clone();
    weaker["nodes"][0]["effect"] = json!("pure");
    assert!(doubts(&base, &weaker).contains(&"CALL_DROPPED ".to_owned()));
    let mut twice = base.clone();
    twice["nodes"].as_array_mut().unwrap().push(call("v", "write", json!(0)));
    assert_eq!(doubts(&base, &twice), ["CALL_ADDED /nodes/1"]);
    for (member, value) in [("version", json!("2")), ("timeout_s", json!(9)), ("inputs", json!({}))] {
        let mut after = base.clone();
        after[member] = value;
        assert_eq!(doubts(&base, &after), ["FIXED_MEMBER "]);
    }
}

#[test]
fn what_waits_and_what_races_stays() {
    for kind in [
        json!({"type": "timer", "config": {"duration_s": 1}}),
        json!({"type": "approval", "config": {"prompt": "?"}}),
        json!({"type": "signal", "config": {"name": "s"}}),
        json!({"type": "composite", "config": {"workflow": "c", "tag": "main"}, "effect": "pure"}),
    ] {
        let mut waits = kind.clone();
        waits["id"] = json!("t");
        let before = flow(&[call("a", "pure", json!(1)), waits], &[], json!("${nodes.a.output}"));
        let after = flow(&[call("a", "pure", json!(1))], &[], json!("${nodes.a.output}"));
        assert_eq!(doubts(&before, &after), ["CALL_DROPPED "], "{kind}");
    }
    let join = |rule: Json| json!({"id": "j", "type": "join", "join": rule});
    let race = |x: i64, rule: Json| {
        let nodes = [
            call("a", "pure", json!(1)),
            call("b", "pure", json!(x)),
            call("c", "pure", json!(3)),
            join(rule),
            call("w", "write", json!("${nodes.b.output.k}")),
        ];
        flow(&nodes, &[edge("a", "c"), edge("a", "j"), edge("b", "j"), edge("j", "w")], json!(null))
    };
    for rule in [json!("any"), json!({"quorum": 1})] {
        let before = race(1, rule.clone());
        // a and b are equal, but which of them is first decides what w is given.
        let mut merged = before.clone();
        merged["nodes"].as_array_mut().unwrap().remove(1);
        merged["edges"].as_array_mut().unwrap().remove(2);
        merged["nodes"][3]["input"]["x"] = json!("${nodes.a.output.k}");
        assert!(doubts(&before, &merged).contains(&"RACE_TOUCHED ".to_owned()));
        // Beside the race all is as elsewhere.
        let mut beside = before.clone();
        beside["nodes"].as_array_mut().unwrap().remove(2);
        beside["edges"].as_array_mut().unwrap().remove(0);
        assert_eq!(doubts(&before, &beside), NOTHING);
        // Waiting for all instead is another meaning, and so is a way round the race.
        let mut all = before.clone();
        all["nodes"][3]["join"] = json!("all");
        assert!(doubts(&before, &all).contains(&"RACE_TOUCHED ".to_owned()));
        let mut round = before.clone();
        round["edges"][3]["from"] = json!("b");
        assert!(!doubts(&before, &round).is_empty());
    }
}

#[test]
fn bodies_are_compared_as_graphs_are() {
    let map = |over: Json, nodes: &[Json], edges: &[Json], output: Json| {
        let body = json!({"nodes": nodes, "edges": edges, "output": output});
        let map = json!({"id": "m", "type": "map", "config": {"over": over, "body": body}});
        flow(&[call("a", "pure", json!(1)), map], &[edge("a", "m")], json!("${nodes.m.output}"))
    };
    let nodes = [
        call("x", "pure", json!("${item}")),
        call("y", "pure", json!("${item}")),
        call("w", "write", json!("${nodes.y.output.k}")),
    ];
    let over = || json!("${nodes.a.output.l}");
    let before = map(over(), &nodes, &[edge("y", "w")], json!(["${nodes.x.output}", "${nodes.y.output}"]));
    let mut merged = nodes.to_vec();
    merged.remove(0);
    let after = map(over(), &merged, &[edge("y", "w")], json!(["${nodes.y.output}", "${nodes.y.output}"]));
    assert_eq!(doubts(&before, &after), NOTHING);
    assert_eq!(doubts(&after, &before), NOTHING, "the same call twice");
    let dropped = map(over(), &nodes[..2], &[], json!(["${nodes.x.output}", "${nodes.y.output}"]));
    assert!(doubts(&before, &dropped).contains(&"CALL_DROPPED ".to_owned()));
    // What moves out of a body is done although there may be no item.
    let inside = map(over(), &[call("x", "pure", json!(7))], &[], json!("${nodes.x.output}"));
    let mut outside = map(over(), &[json!({"id": "j", "type": "join"})], &[], json!("${nodes.x.output}"));
    outside["nodes"].as_array_mut().unwrap().push(call("x", "pure", json!(7)));
    outside["edges"].as_array_mut().unwrap().push(edge("x", "m"));
    assert!(doubts(&inside, &outside).contains(&"CALL_ADDED /nodes/2".to_owned()));
}

/// A map over what `a` gives, in whose body `x` is called before `w` writes, and the same with `x` before the map.
fn hoisted() -> (Json, Json) {
    let nodes = [call("x", "pure", json!(7)), call("w", "write", json!(["${item}", "${nodes.x.output.k}"]))];
    let map = |nodes: &[Json], edges: &[Json]| {
        let body = json!({"nodes": nodes, "edges": edges, "output": "${nodes.w.output}"});
        json!({"id": "m", "type": "map", "config": {"over": "${nodes.a.output.l}", "body": body}})
    };
    let a = || call("a", "read", json!(1));
    let output = || json!("${nodes.m.output}");
    let before = flow(&[a(), map(&nodes, &[edge("x", "w")])], &[edge("a", "m")], output());
    let guard = "nodes.a.output.l != null && size(nodes.a.output.l) > 0";
    let edges = [edge("a", "m"), when("a", "x", guard), edge("x", "m")];
    (before, flow(&[a(), map(&nodes[1..], &[]), nodes[0].clone()], &edges, output()))
}

#[test]
fn what_a_body_computes_alike_is_computed_once_before_it() {
    let (before, after) = hoisted();
    assert_eq!(doubts(&before, &after), NOTHING);
    assert!(doubts(&after, &before).contains(&"CALL_ADDED /nodes/1/config/body/nodes/0".to_owned()));
    let changed = |definition: &Json, pointer: &str, value: Json| {
        let mut changed = definition.clone();
        let (holder, name) = pointer.rsplit_once('/').unwrap();
        match changed.pointer_mut(holder).unwrap() {
            Json::Object(members) => drop(members.insert(name.to_owned(), value)),
            Json::Array(list) => list[name.parse::<usize>().unwrap()] = value,
            _ => unreachable!(),
        }
        changed
    };
    // Without the guard, or with another one, it is called although there is no item; or the guard is a new one.
    for guard in ["true", "size(nodes.a.output.l) > 0", "nodes.a.output.l != null && size(nodes.a.output.l) >= 0"] {
        let wrong = changed(&after, "/edges/1/when", json!(guard));
        assert!(doubts(&before, &wrong).contains(&"CALL_ADDED /nodes/2".to_owned()), "{guard}");
    }
    let other = changed(&after, "/edges/1/when", json!("nodes.a.output.m != null && size(nodes.a.output.m) > 0"));
    assert!(doubts(&before, &other).contains(&"GUARD_ADDED /edges/1/when".to_owned()));
    // Not before the map: what is written there would not wait for it.
    let unread = |one: &Json| {
        let text = one.to_string().replace(r#"["${item}","${nodes.x.output.k}"]"#, r#""${item}""#);
        serde_json::from_str::<Json>(&text).unwrap()
    };
    let (unread_before, mut beside) = (unread(&before), unread(&after));
    assert_eq!(doubts(&unread_before, &beside), NOTHING);
    beside["edges"].as_array_mut().unwrap().pop();
    assert!(doubts(&unread_before, &beside).contains(&"CALL_ADDED /nodes/2".to_owned()));
    // Where a failure of it, or of the map, is taken in another way.
    for (pointer, value) in [("/nodes/1/on_error", json!("continue")), ("/nodes/1/config/on_item_error", json!("skip"))]
    {
        let pair = [&before, &after].map(|one| changed(one, pointer, value.clone()));
        assert!(doubts(&pair[0], &pair[1]).contains(&"CALL_ADDED /nodes/2".to_owned()), "{pointer}");
    }
    let mut survives = after.clone();
    survives["edges"].as_array_mut().unwrap().push(json!({"from": "x", "to": "m", "on": "error"}));
    assert!(doubts(&before, &survives).contains(&"CALL_ADDED /nodes/2".to_owned()));
    // A read may see something else each time, and what reads the item is another call for each.
    for (name, value) in [("effect", json!("read")), ("input", json!({"x": "${item}"}))] {
        let was = changed(&before, &format!("/nodes/1/config/body/nodes/0/{name}"), value.clone());
        let is = changed(&after, &format!("/nodes/2/{name}"), value);
        if compiled(&is).is_some() {
            assert!(doubts(&was, &is).contains(&"CALL_ADDED /nodes/2".to_owned()), "{name}");
        }
    }
    // Called with something else.
    assert!(!doubts(&before, &changed(&after, "/nodes/2/input", json!({"x": 8}))).is_empty());
    // Behind a write of its item: where that fails, it was not called.
    let mut behind = before.clone();
    let body = &mut behind["nodes"][1]["config"]["body"];
    body["nodes"].as_array_mut().unwrap().push(call("v", "write", json!("${item}")));
    body["edges"].as_array_mut().unwrap().push(edge("v", "x"));
    let mut is = after.clone();
    is["nodes"][1]["config"]["body"]["nodes"].as_array_mut().unwrap().push(call("v", "write", json!("${item}")));
    is["nodes"][1]["config"]["body"]["edges"] = json!([edge("v", "w")]);
    assert!(doubts(&behind, &is).contains(&"CALL_ADDED /nodes/2".to_owned()));
    // Before a write that stood before the map.
    let write = || call("v", "write", json!(0));
    let mut later = before.clone();
    later["nodes"].as_array_mut().unwrap().push(write());
    later["edges"].as_array_mut().unwrap().push(edge("v", "m"));
    let mut early = after.clone();
    early["nodes"].as_array_mut().unwrap().push(write());
    early["edges"].as_array_mut().unwrap().push(edge("v", "m"));
    let found = doubts(&later, &early);
    assert!(found.contains(&"CALL_ADDED /nodes/2".to_owned()), "{found:?}");
    // An equal call of the body stays, in a race, and survives its failure: the body ends by the other one as well.
    let (mut twice, mut once) = (before.clone(), after.clone());
    for body in [&mut twice["nodes"][1]["config"]["body"], &mut once["nodes"][1]["config"]["body"]] {
        let race = json!({"id": "j", "type": "join", "join": {"quorum": 1}});
        body["nodes"].as_array_mut().unwrap().extend([call("y", "pure", json!(7)), race]);
        body["edges"].as_array_mut().unwrap().push(json!({"from": "y", "to": "j", "on": "error"}));
    }
    assert_eq!(doubts(&twice, &once), ["FAILURE_CHANGED "]);
    for one in [&mut twice, &mut once] {
        *one = serde_json::from_str(&one.to_string().replace(r#","on":"error""#, "")).unwrap();
    }
    assert_eq!(doubts(&twice, &once), NOTHING);
}

#[test]
fn a_call_of_a_loop_moves_out_where_it_begins() {
    let pair = |condition: &str, guard: Option<&str>| {
        let x = || call("x", "pure", json!(7));
        let w = || call("w", "write", json!(["${iteration}", "${nodes.x.output.k}"]));
        let again = |nodes: &[Json], edges: &[Json]| {
            let body = json!({"nodes": nodes, "edges": edges, "output": "${nodes.w.output}"});
            json!({"id": "m", "type": "loop", "config": {"while": condition, "max_iterations": 3, "body": body}})
        };
        let a = || call("a", "read", json!(1));
        let before = flow(&[a(), again(&[x(), w()], &[edge("x", "w")])], &[edge("a", "m")], json!(null));
        let into = guard.map_or_else(|| edge("a", "x"), |guard| when("a", "x", guard));
        let after = flow(&[a(), again(&[w()], &[]), x()], &[edge("a", "m"), into, edge("x", "m")], json!(null));
        doubts(&before, &after)
    };
    for condition in ["true", "iteration < 2", "last == null || last.k > 3", "iteration == 0 || last.b0"] {
        assert_eq!(pair(condition, None), NOTHING, "{condition}");
    }
    for condition in ["false", "iteration > 0", "last != null", "nodes.a.output.b0 && iteration < 2", "inputs.go"] {
        assert_eq!(pair(condition, None), ["CALL_ADDED /nodes/2"], "{condition}");
    }
    assert_eq!(pair("nodes.a.output.b0", Some("nodes.a.output.b0")), NOTHING);
    let other = pair("nodes.a.output.b0", Some("nodes.a.output.b1"));
    assert!(other.contains(&"GUARD_ADDED /edges/1/when".to_owned()), "{other:?}");
}

#[test]
fn failures_are_taken_as_before() {
    let mut survives = call("b", "pure", json!(1));
    survives["on_error"] = json!("continue");
    let nodes = [call("a", "pure", json!(0)), survives.clone(), call("w", "write", json!(2))];
    let before = flow(&nodes, &[edge("a", "b"), edge("b", "w")], json!(null));
    let mut ends = before.clone();
    ends["nodes"][1].as_object_mut().unwrap().remove("on_error");
    assert!(!doubts(&before, &ends).is_empty() && !doubts(&ends, &before).is_empty());
    // Two equal calls that survive are one; where only one of them survives, nothing is known.
    let mut other = survives.clone();
    other["id"] = json!("c");
    let output = |a: &str, b: &str| json!([format!("${{nodes.{a}.output}}"), format!("${{nodes.{b}.output}}")]);
    let two = flow(&[survives.clone(), other.clone()], &[], output("b", "c"));
    assert_eq!(doubts(&two, &flow(&[survives.clone()], &[], output("b", "b"))), NOTHING);
    let caught = [edge("b", "r"), json!({"from": "b", "to": "r", "on": "error"})];
    let plain = |id: &str| call(id, "pure", json!(1));
    let mixed = flow(&[plain("b"), plain("c"), call("r", "pure", json!(5))], &caught, output("b", "c"));
    let merged = flow(&[plain("b"), call("r", "pure", json!(5))], &caught, output("b", "b"));
    assert_eq!(doubts(&mixed, &merged), ["FAILURE_CHANGED ", "FAILURE_CHANGED /nodes/0", "OUTPUT_CHANGED /output"]);
    // Of two equal calls in a row the first one ends the run, although the second would not.
    let (mut first, mut second) = (call("a", "read", json!(0)), call("b", "read", json!(0)));
    second["on_error"] = json!("continue");
    let row = |first: &Json| {
        let nodes = [first.clone(), second.clone(), call("p", "pure", json!(9)), call("w", "write", json!(2))];
        flow(&nodes, &[edge("a", "b"), edge("b", "w"), edge("p", "w")], json!(null))
    };
    let before = row(&first);
    first["on_error"] = json!("continue");
    assert_eq!(doubts(&before, &row(&first)), ["FAILURE_CHANGED /nodes/0"]);
}

#[test]
fn too_much_is_refused_in_time() {
    let nodes: Vec<Json> = (0..1_200).map(|i| call(&format!("n{i}"), "pure", json!(i))).collect();
    let edges: Vec<Json> = (1..1_200)
        .map(|i| when(&format!("n{}", i - 1), &format!("n{i}"), &format!("nodes.n{}.output.b0", i - 1)))
        .collect();
    let before = flow(&nodes, &edges, json!(1));
    let after = flow(&nodes, &edges, json!(2));
    assert_eq!(doubts(&before, &before), NOTHING);
    assert_eq!(doubts(&before, &after), ["TOO_COMPLEX "]);
}

#[test]
fn a_guard_that_is_left_out_is_not_asked_later_instead() {
    // Where `b0` is not there, the guard ends the run before anything is written; without x it would do so after w.
    let guard = "nodes.a.output.b0";
    let nodes = [
        call("a", "pure", json!(1)),
        call("w", "write", json!(2)),
        call("v", "write", json!(3)),
        call("x", "pure", json!(4)),
    ];
    let edges = [edge("a", "w"), when("w", "v", guard), when("a", "x", guard)];
    let before = flow(&nodes, &edges, json!(null));
    assert_eq!(doubts(&before, &flow(&nodes[..3], &edges[..2], json!(null))), ["ORDER_CHANGED /nodes/1"]);
    // Nobody else asks it: it goes with x.
    let alone = [edges[0].clone(), edge("w", "v"), edges[2].clone()];
    assert_eq!(doubts(&flow(&nodes, &alone, json!(null)), &flow(&nodes[..3], &alone[..2], json!(null))), NOTHING);
}

/// A map over one item that starts when the first of `a` and `b` has ended, and whose body reads `b`.
fn reading_a_race(nodes: &[Json], edges: &[Json]) -> Json {
    let body = json!({"nodes": nodes, "edges": edges, "output": null});
    let map = json!({"id": "m", "type": "map", "join": "any", "config": {"over": [1], "body": body}});
    let calls = [call("a", "pure", json!(1)), call("b", "pure", json!(2)), map];
    flow(&calls, &[edge("a", "m"), edge("b", "m")], json!(null))
}

#[test]
fn what_a_body_reads_of_a_node_that_may_not_be_decided_is_a_race_in_the_body() {
    // Where r sees b, s sees it too; not so where s may come first.
    let nodes = [
        call("r", "pure", json!("${nodes.b.output.k}")),
        call("s", "pure", json!(["${nodes.b.output.k}", 2])),
        call("w", "write", json!(["${nodes.r.output.k}", "${nodes.s.output.k}"])),
    ];
    let row = reading_a_race(&nodes, &[edge("r", "s"), edge("s", "w")]);
    let fork = reading_a_race(&nodes, &[edge("r", "w"), edge("s", "w")]);
    assert!(doubts(&row, &fork).contains(&"RACE_TOUCHED ".to_owned()));
    // Asked a second time, the guard may say something else.
    let nodes = [call("p", "pure", json!(1)), call("q", "pure", json!(2)), call("v", "write", json!(3))];
    let guard = "nodes.b.status == null";
    let once = reading_a_race(&nodes, &[when("p", "q", guard), edge("q", "v")]);
    let twice = reading_a_race(&nodes, &[when("p", "q", guard), when("q", "v", guard)]);
    assert!(doubts(&once, &twice).contains(&"RACE_TOUCHED ".to_owned()));
    // What reads nothing of it is as elsewhere.
    let unread = [nodes[0].clone(), nodes[2].clone()];
    let beside = reading_a_race(&nodes, &[when("p", "v", guard), edge("p", "q")]);
    assert_eq!(doubts(&beside, &reading_a_race(&unread, &[when("p", "v", guard)])), NOTHING);
}

#[test]
fn a_guard_about_what_may_not_be_decided_is_another_one_on_each_edge() {
    let (race, known) = ("nodes.b.output.b0", "nodes.c.output.b0");
    let nodes = [
        call("c", "pure", json!(0)),
        call("a", "pure", json!(1)),
        call("b", "pure", json!(2)),
        json!({"id": "j", "type": "join", "join": "any"}),
        call("early", "pure", json!(3)),
        call("p", "pure", json!(4)),
        call("late", "pure", json!(5)),
        call("z", "pure", json!(6)),
        call("v", "write", json!(7)),
    ];
    let with = |last: [Json; 2]| {
        let mut edges = vec![
            edge("c", "a"),
            edge("c", "b"),
            edge("a", "j"),
            edge("b", "j"),
            when("j", "early", race),
            edge("j", "p"),
            when("p", "late", race),
            when("early", "z", known),
        ];
        edges.extend(last);
        flow(&nodes, &edges, json!(null))
    };
    let before = with([edge("early", "v"), when("late", "v", known)]);
    let after = with([when("early", "v", known), edge("late", "v")]);
    assert_eq!(doubts(&before, &after), ["CONDITION_CHANGED /nodes/8"]);
}

#[test]
fn a_read_of_a_body_is_another_one_than_before_what_was_written() {
    let (read, write) = (|id: &str| call(id, "read", json!(1)), || call("w", "write", json!(2)));
    let map = |effect: &str, nodes: &[Json], from: &str| {
        let mut nodes = nodes.to_vec();
        nodes.push(call("v", effect, json!(["${item}", format!("${{nodes.{from}.output.k}}")])));
        let edges = if from == "s" { vec![edge("s", "v")] } else { vec![] };
        let body = json!({"nodes": nodes, "edges": edges, "output": "${nodes.v.output.k}"});
        json!({"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}})
    };
    let behind =
        |map: Json| flow(&[read("r"), write(), map], &[edge("r", "w"), edge("w", "m")], json!("${nodes.m.output}"));
    let beside = |map: Json| flow(&[read("r"), map], &[edge("r", "m")], json!("${nodes.m.output}"));
    for effect in ["write", "pure"] {
        let (inner, outer) = (map(effect, &[read("s")], "s"), map(effect, &[], "r"));
        assert!(!doubts(&behind(inner.clone()), &behind(outer.clone())).is_empty(), "w is between them: {effect}");
        // Where nothing is written there, either, they are one; else the item before wrote.
        let is_one = doubts(&beside(inner), &beside(outer)).is_empty();
        assert_eq!(is_one, effect == "pure");
    }
}

#[test]
fn an_agent_that_may_patch_its_run_keeps_its_place() {
    let agent = |may: bool| json!({"id": "g", "type": "agent", "config": {"prompt": "?", "may_patch": may}});
    let (x, w) = (call("x", "pure", json!(1)), call("w", "write", json!("${nodes.x.output.k}")));
    let with = |may: bool, edges: &[Json]| flow(&[agent(may), x.clone(), w.clone()], edges, json!(null));
    let without = flow(&[x.clone(), w.clone()], &[edge("x", "w")], json!(null));
    for may in [false, true] {
        let alone = with(may, &[edge("x", "w")]);
        assert_eq!(doubts(&alone, &without).is_empty(), !may);
        // What stands behind it does not begin before it has said what it changes.
        let (row, fork) = ([edge("g", "x"), edge("x", "w")], [edge("g", "w"), edge("x", "w")]);
        assert_eq!(doubts(&with(may, &row), &with(may, &fork)).is_empty(), !may);
    }
}

#[test]
fn the_guard_before_a_map_is_that_of_its_list_without_what_is_remarked() {
    let (before, after) = hoisted();
    let remarked = |definition: &Json| {
        let text = definition.to_string().replace("${nodes.a.output.l}", "${nodes.a.output.l // all of them}");
        serde_json::from_str::<Json>(&text).unwrap()
    };
    let (before, mut after) = (remarked(&before), remarked(&after));
    assert_eq!(doubts(&before, &after), NOTHING);
    // A list is neither true nor false.
    after["edges"][1]["when"] = json!("nodes.a.output.l");
    assert!(doubts(&before, &after).contains(&"GUARD_ADDED /edges/1/when".to_owned()));
}

#[test]
fn a_join_that_is_undone_may_fail() {
    // What undoes it may be too much to keep.
    let join = json!({"id": "j", "type": "join", "compensation": {"name": "u", "input": {}}});
    let caught = json!({"from": "j", "to": "h", "on": "error"});
    let before = flow(&[join.clone(), call("h", "write", json!(1))], &[caught], json!(null));
    assert!(doubts(&before, &flow(&[join], &[], json!(null))).contains(&"CALL_DROPPED ".to_owned()));
}

#[test]
fn a_join_gives_how_many_edges_were_live_whether_it_keeps_its_place_or_not() {
    for effect in ["pure", "write"] {
        let nodes = [
            call("a", "pure", json!(1)),
            call("b", "pure", json!(2)),
            json!({"id": "j", "type": "join", "effect": effect}),
        ];
        let with = |edges: &[Json]| flow(&nodes, edges, json!("${nodes.j.output.live}"));
        let edges = [edge("a", "b"), edge("b", "j"), edge("a", "j")];
        assert!(!doubts(&with(&edges), &with(&edges[..2])).is_empty(), "{effect}");
    }
}
