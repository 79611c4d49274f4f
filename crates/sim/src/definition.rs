//! Definitions at random: every type of node that runs, joins, guards, errors, retries, time limits, compensations.

use crate::chance::Chance;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Their names.
pub(crate) const WORKFLOWS: [&str; 3] = ["w0", "w1", "w2"];

/// A random definition. `without` names nodes to leave out (`w0.n3`, and `w0.b2_0` within the body of `n2`).
pub(crate) fn definition(seed: u64, name: &str, version: u64, without: &BTreeSet<String>) -> Value {
    let mut chance = Chance::of(seed, name, version);
    let count = 1 + chance.below(8) as usize;
    // A later one has none of an earlier one, so that no run is its own child.
    let children = match name {
        "w0" if chance.one_in(3) => 2,
        "w1" if chance.one_in(4) => 1,
        _ => 0,
    };
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    let is_left_out = |id: &str| without.contains(&format!("{name}.{id}"));
    for at in 0..count {
        let chance = &mut Chance::of(seed, name, (version << 32) | (at as u64 + 1));
        let id = format!("n{at}");
        let mut node = node(chance, &id, Within { children, ..Within::default() }, &is_left_out);
        node["id"] = json!(id);
        let mut incoming = 0;
        for from in 0..at {
            let is_wanted = chance.one_in(2 + at as u64 / 2) || (from + 1 == at && chance.one_in(2));
            let edge = edge(chance, &format!("n{from}"), &id);
            if is_wanted && !is_left_out(&id) && !is_left_out(&format!("n{from}")) {
                edges.push(edge);
                incoming += 1;
            }
        }
        let (join, n, required, cancel_rest) = (chance.below(4), chance.next(), chance.one_in(3), chance.one_in(3));
        if incoming > 1 {
            match join {
                0 => node["join"] = json!("any"),
                1 => node["join"] = json!({"quorum": 1 + n % incoming, "required": required}),
                _ => {}
            }
            if cancel_rest {
                node["cancel_rest"] = json!(true);
            }
        }
        if !is_left_out(&id) {
            nodes.push(node);
        }
    }
    let mut document = json!({"name": name, "version": version.to_string(), "nodes": nodes, "edges": edges,
        "inputs": {"type": "object", "properties": {"x": {"type": "integer"}, "to": {"type": "string"}}}});
    if chance.one_in(5) {
        document["timeout_s"] = json!(20 + chance.below(200));
    }
    if chance.one_in(4) {
        document["compensation_timeout_s"] = json!(5 + chance.below(60));
    }
    if chance.one_in(3) {
        // Of a sum with null there is none.
        let sum = if chance.one_in(4) { " + 1" } else { "" };
        let last = nodes_of(&document).last().cloned().unwrap_or_default();
        document["output"] = json!({"x": "${inputs.x}", "last": format!("${{nodes.{last}.output.v{sum}}}")});
    }
    document
}

fn nodes_of(document: &Value) -> Vec<String> {
    let nodes = document["nodes"].as_array().into_iter().flatten();
    let functions = nodes.filter(|node| node["type"] == "function");
    functions.filter_map(|node| node["id"].as_str()).map(Into::into).collect()
}

/// An edge, with a guard or of the failure at times.
pub(crate) fn edge(chance: &mut Chance, from: &str, to: &str) -> Value {
    let mut edge = json!({"from": from, "to": to});
    match chance.below(9) {
        0 => edge["when"] = json!(format!("nodes.{from}.status == 'ok' && inputs.x > {}", chance.below(4))),
        1 => edge["on"] = json!("error"),
        2 => edge["when"] = json!("inputs.x >= 1"),
        // An error where the output is a text.
        3 => edge["when"] = json!(format!("nodes.{from}.output.v == null || nodes.{from}.output.v > 1")),
        _ => {}
    }
    edge
}

/// The bodies that a node stands in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Within {
    pub(crate) map: bool,
    pub(crate) iteration: bool,
    pub(crate) depth: u64,
    /// Workflows that may be run from here: so many of the last ones.
    pub(crate) children: u64,
}

/// A node of any type.
pub(crate) fn node(chance: &mut Chance, id: &str, within: Within, is_left_out: &dyn Fn(&str) -> bool) -> Value {
    let mut node = match chance.below(20) {
        0 => json!({"type": "join"}),
        1 => json!({"type": "timer", "config": {"duration_s": chance.below(50)}}),
        2 => {
            let on_timeout = chance.of_these(&["approve", "reject", "fail"]);
            let mut config = json!({"prompt": "Go on?", "on_timeout": on_timeout});
            let after = 1 + chance.below(90);
            if !chance.one_in(4) {
                config["timeout_s"] = json!(after);
            }
            if after > 1 && chance.one_in(3) {
                config["escalate_to"] = json!(["them"]);
                config["escalate_after_s"] = json!(after / 2);
            }
            json!({"type": "approval", "config": config})
        }
        3..=5 if within.depth < 2 => map(chance, id, within, is_left_out),
        14 if within.depth < 2 => iteration(chance, id, within, is_left_out),
        15 | 19 => {
            let may_patch = !chance.one_in(3);
            json!({"type": "agent", "config": {"model": "m", "prompt": "Is ${inputs.x} much?", "may_patch": may_patch}})
        }
        16 if within.children > 0 => composite(chance, within.children),
        17 | 18 => signal(chance),
        6 => json!({"type": "http", "config": {"method": "GET", "url": "https://example.com/a"}}),
        _ => function(chance, within),
    };
    if chance.one_in(6) {
        node["on_error"] = json!("continue");
    }
    let holds_others = matches!(node["type"].as_str(), Some("map" | "loop" | "composite"));
    let key = chance.of_these(&["a", "b", "${inputs.x}", "${null}", "${inputs.x > 1}", "${inputs.none}"]);
    if chance.one_in(8) && !holds_others {
        node["concurrency_key"] = json!(if chance.one_in(3) { key } else { "a" });
    }
    node
}

/// Another workflow, again where it fails at times.
fn composite(chance: &mut Chance, children: u64) -> Value {
    let workflow = format!("w{}", 2 - chance.below(children));
    let mut config = json!({"workflow": workflow, "inputs": {"x": "${inputs.x}", "to": "${inputs.to}"}});
    match chance.below(8) {
        0 => config["version"] = json!("1"),
        // It may not be there.
        1 => config["version"] = json!("2"),
        2 => config["tag"] = json!("canary"),
        _ => config["tag"] = json!("main"),
    }
    match chance.below(16) {
        0 => config["inputs"]["x"] = json!("no"),
        1 => config["inputs"]["x"] = json!("${inputs.none}"),
        _ => {}
    }
    let mut node = json!({"type": "composite", "config": config});
    if chance.one_in(3) {
        node["retry"] = json!({"max_attempts": 1 + chance.below(3), "initial_s": 1, "non_retryable": ["Fatal"]});
    }
    if chance.one_in(4) {
        node["timeout_s"] = json!(1 + chance.below(60));
    }
    if chance.one_in(4) {
        node["compensation"] = json!({"name": "undo", "input": {"x": "${inputs.x}"}});
    }
    node
}

/// A wait for a signal, or a signal to some run.
fn signal(chance: &mut Chance) -> Value {
    let name = chance.of_these(&["s", "s", "s${inputs.x}", "${inputs.none}"]);
    let name = if chance.one_in(4) { name } else { "s" };
    let mut config = json!({"name": name});
    if chance.one_in(3) {
        let run = chance.of_these(&["${inputs.to}", "${inputs.to}", "${run.id}", "nobody"]);
        config["send"] = json!({"run_id": run, "payload": {"v": "${inputs.x}"}});
        return json!({"type": "signal", "config": config});
    }
    if chance.one_in(2) {
        // Some have no `v`: the condition fails for them.
        config["match"] = json!(chance.of_these(&["signal.payload.v > 1", "signal.payload.v == inputs.x"]));
    }
    if chance.one_in(2) {
        config["timeout_s"] = json!(1 + chance.below(60));
        config["on_timeout"] = json!(chance.of_these(&["fail", "continue"]));
    }
    json!({"type": "signal", "config": config})
}

fn function(chance: &mut Chance, within: Within) -> Value {
    let mut input = json!({"x": "${inputs.x}", "text": "x is ${inputs.x}"});
    if within.map {
        input["item"] = json!("${item}");
        input["index"] = json!("${index}");
    }
    if within.iteration {
        input["iteration"] = json!("${iteration}");
        input["last"] = json!("${last}");
    }
    if chance.one_in(40) {
        input["bad"] = json!("${inputs.x + 'a'}");
    }
    let effect = chance.of_these(&["pure", "read", "write"]);
    let mut node = json!({"type": "function", "config": {"name": "f"}, "input": input, "effect": effect});
    if chance.one_in(8) {
        node["config"]["name"] = json!("slow");
        node["rate_limit"] =
            json!({"count": 1 + chance.below(2), "per_s": 1 + chance.below(6), "burst": 1 + chance.below(2)});
    }
    if chance.one_in(8) {
        node["config"]["name"] = json!("weak");
        node["breaker"] =
            json!({"failure_threshold": 1 + chance.below(2), "timeout_s": 10, "probes": 1 + chance.below(2)});
        match chance.below(4) {
            0 => node["breaker"]["fallback"] = json!({"value": {"v": "${inputs.x}"}}),
            1 => node["breaker"]["fallback"] = json!({"cached": true}),
            _ => {}
        }
    }
    if chance.one_in(8) {
        node["correction"] =
            json!({"model": "m", "max_attempts": 1 + chance.below(2), "timeout_s": 5 + chance.below(20)});
    }
    if chance.one_in(2) {
        node["retry"] = json!({"max_attempts": 1 + chance.below(3), "initial_s": 1, "non_retryable": ["Fatal"]});
        if chance.one_in(3) {
            let (attempts, initial_s) = (1 + chance.below(4), 1 + chance.below(9));
            let class = json!({"types": ["Broken", "Timeout"], "max_attempts": attempts, "initial_s": initial_s});
            node["retry"]["by_error"] = json!([class]);
        }
    }
    if chance.one_in(3) {
        node["timeout_s"] = json!(1 + chance.below(30));
    }
    if chance.one_in(6) {
        node["schedule_to_close_s"] = json!(1 + chance.below(60));
    }
    if chance.one_in(6) {
        node["heartbeat_timeout_s"] = json!(1 + chance.below(40));
    }
    if chance.one_in(2) {
        let mut undo = json!({"name": "undo", "input": {"x": "${inputs.x}"}});
        if within.map {
            undo["input"] = json!({"item": "${item}"});
        }
        if within.iteration {
            undo["input"]["iteration"] = json!("${iteration}");
        }
        if chance.one_in(8) {
            undo["input"] = json!({"bad": "${inputs.x + 'a'}"});
        }
        if chance.one_in(2) {
            undo["retry"] = json!({"max_attempts": 1 + chance.below(3), "initial_s": 1, "non_retryable": ["Fatal"]});
        }
        if chance.one_in(3) {
            undo["timeout_s"] = json!(1 + chance.below(30));
        }
        node["compensation"] = undo;
    }
    node
}

fn map(chance: &mut Chance, id: &str, within: Within, is_left_out: &dyn Fn(&str) -> bool) -> Value {
    let list: Vec<u64> = (0..chance.below(5)).collect();
    let over = match chance.below(12) {
        0 => json!("${inputs.none}"),
        1 => json!("${inputs.x}"),
        _ => json!(list),
    };
    let body = body(chance, id, Within { map: true, depth: within.depth + 1, ..within }, is_left_out);
    let mut config = json!({"over": over, "body": body, "on_item_error": chance.of_these(&["skip", "fail"])});
    if !chance.one_in(4) {
        config["max_concurrency"] = json!(1 + chance.below(4));
    }
    json!({"type": "map", "config": config})
}

fn iteration(chance: &mut Chance, id: &str, within: Within, is_left_out: &dyn Fn(&str) -> bool) -> Value {
    let condition = match chance.below(8) {
        0 => "last == null || iteration < 2",
        1 => "inputs.x > 1",
        // Of a number there is none; and what it gives is no truth value at all.
        2 => "last.v > 1",
        3 => "inputs.x",
        _ => "iteration < 3",
    };
    let body = body(chance, id, Within { iteration: true, depth: within.depth + 1, ..within }, is_left_out);
    let config = json!({"while": condition, "max_iterations": 1 + chance.below(4), "body": body});
    json!({"type": "loop", "config": config})
}

/// A small graph inside a node.
fn body(chance: &mut Chance, id: &str, within: Within, is_left_out: &dyn Fn(&str) -> bool) -> Value {
    let mut nodes: Vec<Value> = Vec::new();
    let mut edges = Vec::new();
    let mut before: Option<String> = None;
    for inner in 0..1 + chance.below(3) {
        let inner_id = format!("{id}_{inner}");
        let mut drawn = node(chance, &inner_id, within, is_left_out);
        drawn["id"] = json!(inner_id);
        let joined = chance.below(3);
        let edge = before.as_deref().map(|before| edge(chance, before, &inner_id));
        if is_left_out(&inner_id) {
            continue;
        }
        nodes.push(drawn);
        if let Some(edge) = edge.filter(|_| joined > 0) {
            edges.push(edge);
        }
        before = Some(inner_id);
    }
    let mut body = json!({"nodes": nodes, "edges": edges});
    if let (Some(before), true) = (before, chance.one_in(2)) {
        // Of a sum with null there is none: the output of the item fails at times.
        let sum = if chance.one_in(8) { " + 1" } else { "" };
        body["output"] = json!(format!("${{nodes.{before}.output.v{sum}}}"));
    }
    body
}
