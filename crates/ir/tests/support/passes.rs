//! Random workflows with something to optimize, simple passes that make right patches, and small changes that make
//! wrong ones (or not).

use crate::random::Random;
use serde_json::{Value as Json, json};

/// A graph whose calls are often equal.
pub(crate) fn graph(random: &mut Random, prefix: &str, depth: usize, outer: &[String], own: &[&str]) -> Json {
    let count = 2 + random.below(if prefix == "n" { 6 } else { 3 });
    let id = |at: usize| format!("{prefix}{at}");
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut edges = Vec::new();
    for (to, parents) in parents.iter_mut().enumerate() {
        parents.extend((0..to).filter(|_| random.chance(40)));
        edges.extend(parents.iter().map(|&from| (from, to)));
    }
    let mut upstream: Vec<Vec<String>> = vec![Vec::new(); count];
    for at in 0..count {
        let mut all: Vec<String> = parents[at].iter().flat_map(|&parent| upstream[parent].clone()).collect();
        all.extend(parents[at].iter().map(|&parent| id(parent)));
        all.sort();
        all.dedup();
        upstream[at] = all;
    }
    let mut nodes = Vec::new();
    for (at, upstream) in upstream.iter().enumerate() {
        let mut readable = upstream.clone();
        readable.extend(outer.iter().cloned());
        nodes.push(node(random, &id(at), depth, &readable, own));
    }
    let edges: Vec<Json> = edges
        .into_iter()
        .map(|(from, to)| {
            let mut edge = json!({"from": id(from), "to": id(to)});
            if random.chance(35) {
                let mut readable = upstream[from].clone();
                readable.push(id(from));
                let field = random.pick(&["b0", "b1"]);
                edge["when"] = json!(format!("nodes.{}.output.{field}", random.pick(&readable)));
            }
            if random.chance(6) {
                edge["on"] = json!("error");
            }
            edge
        })
        .collect();
    let mut graph = json!({"nodes": nodes, "edges": edges});
    if random.chance(80) {
        let (nodes_count, count) = (count, random.below(3));
        graph["output"] = (0..count)
            .map(|_| value(random, &(0..nodes_count).map(id).collect::<Vec<_>>(), own))
            .collect::<Vec<_>>()
            .into();
    }
    graph
}

/// A small value, or what a node gave.
fn value(random: &mut Random, readable: &[String], own: &[&str]) -> Json {
    if readable.is_empty() || random.chance(40) {
        return match own {
            [.., innermost] if random.chance(50) => json!(format!("${{{innermost}}}")),
            _ => json!(random.below(2)),
        };
    }
    match random.pick(readable) {
        id if random.chance(5) => json!(format!("${{nodes.{id}.status}}")),
        id => json!(format!("${{nodes.{id}.output.{}}}", random.pick(&["k", "l", "b0"]))),
    }
}

fn node(random: &mut Random, id: &str, depth: usize, readable: &[String], own: &[&str]) -> Json {
    let mut node = match random.below(if depth > 0 { 10 } else { 8 }) {
        0 if random.chance(30) => json!({"type": "timer", "config": {"duration_s": 1}}),
        0 => json!({"type": "join"}),
        1 => json!({"type": "http", "config": {"url": "https://example.com/", "body": value(random, readable, own)}}),
        2..=7 => {
            let effect = *random.pick(&["pure", "pure", "pure", "read", "write"]);
            let name = *random.pick(&["f", "g"]);
            json!({"type": "function", "config": {"name": name}, "input": {"x": value(random, readable, own)}, "effect": effect})
        }
        _ => {
            let over = match readable.is_empty() {
                true => json!([1, 2]),
                false => json!(format!("${{nodes.{}.output.l}}", random.pick(readable))),
            };
            let inside = if random.chance(60) { "item" } else { "last" };
            let body = graph(random, &format!("{id}_"), depth - 1, readable, &[own, &[inside]].concat());
            match inside {
                "item" => json!({"type": "map", "config": {"over": over, "body": body}}),
                _ => {
                    let condition = match readable.is_empty() || random.chance(60) {
                        true => (*random.pick(&["true", "iteration < 2", "last == null || true"])).to_owned(),
                        false => format!("nodes.{}.output.b0", random.pick(readable)),
                    };
                    json!({"type": "loop", "config": {"while": condition, "max_iterations": 2, "body": body}})
                }
            }
        }
    };
    node["id"] = json!(id);
    if random.chance(if node["type"] == "join" { 25 } else { 1 }) {
        node["join"] = random.pick(&[json!("any"), json!({"quorum": 1}), json!({"quorum": 2})]).clone();
    }
    if node["type"] == "function" && random.chance(3) {
        node["compensation"] = json!({"name": random.pick(&["u", "v"]), "input": {}});
    }
    if node["type"] != "join" && random.chance(10) {
        node["on_error"] = json!("continue");
    }
    node
}

pub(crate) fn definition(random: &mut Random) -> Json {
    let depth = if random.chance(10) { 2 } else { 1 };
    let mut definition = graph(random, "n", depth, &[], &[]);
    definition["name"] = json!("w");
    definition["version"] = json!("1");
    definition
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a node changes nothing, and nothing undoes it.
fn is_free(node: &Json) -> bool {
    let changes_nothing =
        node["type"] == "http" || node["type"] == "join" || matches!(text(&node["effect"]), "pure" | "read");
    changes_nothing && node.get("compensation").is_none()
}

/// Whether anything waits for some of what leads to it: these passes leave such a definition alone.
fn has_race(definition: &Json) -> bool {
    let text = definition.to_string();
    text.contains(r#""join":"any""#) || text.contains(r#""quorum":"#)
}

/// Whether anything but the edges of `id` names it.
fn is_read(definition: &Json, id: &str) -> bool {
    definition.to_string().contains(&format!("nodes.{id}."))
}

fn edges(graph: &mut Json) -> &mut Vec<Json> {
    graph["edges"].as_array_mut().unwrap()
}

/// Drops a call without effect that nobody reads and nothing follows from.
pub(crate) fn dead_path(random: &mut Random, definition: &Json) -> Option<Json> {
    if has_race(definition) {
        return None;
    }
    definition.get("output")?;
    let mut after = definition.clone();
    let nodes = after["nodes"].as_array().unwrap();
    let dead: Vec<usize> = (0..nodes.len())
        .filter(|&at| {
            let leads = definition["edges"].as_array().unwrap().iter().any(|edge| edge["from"] == nodes[at]["id"]);
            is_free(&nodes[at]) && !leads && !is_read(definition, text(&nodes[at]["id"]))
        })
        .collect();
    if dead.is_empty() || nodes.len() == 1 {
        return None;
    }
    let gone = after["nodes"].as_array_mut().unwrap().remove(*random.pick(&dead));
    edges(&mut after).retain(|edge| edge["to"] != gone["id"]);
    Some(after)
}

/// Does two equal calls once.
pub(crate) fn common(random: &mut Random, definition: &Json) -> Option<Json> {
    if has_race(definition) {
        return None;
    }
    let nodes = definition["nodes"].as_array().unwrap();
    let said = |node: &Json| {
        let mut into: Vec<String> = definition["edges"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|edge| edge["to"] == node["id"])
            .map(|edge| format!("{} {} {}", edge["from"], edge["when"], edge["on"]))
            .collect();
        into.sort();
        let mut node = node.clone();
        node.as_object_mut().unwrap().remove("id");
        (node.to_string(), into)
    };
    let mut pairs = Vec::new();
    for one in 0..nodes.len() {
        for other in 0..nodes.len() {
            let free = is_free(&nodes[one]) && nodes[one]["type"] != "join";
            if one != other && free && said(&nodes[one]) == said(&nodes[other]) {
                pairs.push((one, other));
            }
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let (kept, gone) = *random.pick(&pairs);
    let (kept, gone) = (text(&nodes[kept]["id"]).to_owned(), text(&nodes[gone]["id"]).to_owned());
    let mut after: Json =
        serde_json::from_str(&definition.to_string().replace(&format!("nodes.{gone}."), &format!("nodes.{kept}.")))
            .unwrap();
    after["nodes"].as_array_mut().unwrap().retain(|node| text(&node["id"]) != gone);
    let mut seen = Vec::new();
    edges(&mut after).retain_mut(|edge| {
        if text(&edge["from"]) == gone {
            edge["from"] = json!(kept);
        }
        let key = format!("{} {} {}", edge["from"], edge["to"], edge["on"]);
        let keep = text(&edge["to"]) != gone && !seen.contains(&key);
        seen.push(key);
        keep
    });
    Some(after)
}

/// A guard behind a call without effect that does not ask about it moves before it.
pub(crate) fn pushdown(random: &mut Random, definition: &Json) -> Option<Json> {
    if has_race(definition) {
        return None;
    }
    let all = definition["edges"].as_array().unwrap();
    let plain = |edge: &Json| edge.get("when").is_none() && edge.get("on").is_none();
    let mut found = Vec::new();
    for (second_at, second) in all.iter().enumerate() {
        let node = definition["nodes"].as_array().unwrap().iter().find(|node| node["id"] == second["from"])?;
        let into: Vec<usize> = (0..all.len()).filter(|&at| all[at]["to"] == second["from"]).collect();
        let out = all.iter().filter(|edge| edge["from"] == second["from"]).count();
        let guard = text(&second["when"]);
        let asks = guard.contains(&format!("nodes.{}.", text(&second["from"])));
        if let ([first], 1, false, false) = (into.as_slice(), out, guard.is_empty(), asks)
            && is_free(node)
            && second.get("on").is_none()
            && plain(&all[*first])
        {
            found.push((*first, second_at));
        }
    }
    if found.is_empty() {
        return None;
    }
    let (first, second) = *random.pick(&found);
    let mut after = definition.clone();
    let guard = edges(&mut after)[second].as_object_mut().unwrap().remove("when").unwrap();
    edges(&mut after)[first]["when"] = guard;
    Some(after)
}

/// A call without effect that waits for one that it does not read starts with it.
pub(crate) fn parallelize(random: &mut Random, definition: &Json) -> Option<Json> {
    if has_race(definition) {
        return None;
    }
    let all = definition["edges"].as_array().unwrap();
    let node = |id: &Json| definition["nodes"].as_array().unwrap().iter().find(|node| node["id"] == *id).unwrap();
    let found: Vec<usize> = (0..all.len())
        .filter(|&at| {
            let edge = &all[at];
            let into = all.iter().filter(|other| other["to"] == edge["to"]).count();
            let reads = node(&edge["to"]).to_string().contains(&format!("nodes.{}.", text(&edge["from"])));
            let free = is_free(node(&edge["to"])) && is_free(node(&edge["from"]));
            into == 1 && free && !reads && edge.get("when").is_none() && edge.get("on").is_none()
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let gone = &all[*random.pick(&found)];
    let mut after = definition.clone();
    let edges = edges(&mut after);
    edges.retain(|edge| edge != gone);
    for edge in all.iter().filter(|edge| edge["to"] == gone["from"]) {
        let mut copy = edge.clone();
        copy["to"] = gone["to"].clone();
        edges.push(copy);
    }
    for edge in all.iter().filter(|edge| edge["from"] == gone["to"]) {
        let known = edges
            .iter()
            .any(|other| other["from"] == gone["from"] && other["to"] == edge["to"] && other.get("on").is_none());
        if !known {
            edges.push(json!({"from": gone["from"], "to": edge["to"]}));
        }
    }
    Some(after)
}

/// A small change: most of the time a wrong one.
pub(crate) fn mutate(random: &mut Random, definition: &mut Json) {
    let bodies: Vec<usize> = (0..definition["nodes"].as_array().unwrap().len())
        .filter(|&at| definition["nodes"][at]["type"] == "map")
        .collect();
    if !bodies.is_empty() && random.chance(30) {
        let at = *random.pick(&bodies);
        return mutate(random, &mut definition["nodes"][at]["config"]["body"]);
    }
    let count = definition["nodes"].as_array().unwrap().len();
    let (at, other) = (random.below(count), random.below(count));
    let (id, other_id) = (definition["nodes"][at]["id"].clone(), definition["nodes"][other]["id"].clone());
    let edge = random.below(edges(definition).len().max(1));
    let has_edges = !edges(definition).is_empty();
    match random.below(14) {
        0 if has_edges => drop(edges(definition).remove(edge)),
        1 if has_edges => drop(edges(definition)[edge].as_object_mut().unwrap().remove("when")),
        2 if has_edges => edges(definition)[edge]["when"] = json!(*random.pick(&["true", "inputs.a"])),
        3 if has_edges => edges(definition)[edge]["to"] = other_id,
        4 if has_edges => edges(definition)[edge]["from"] = other_id,
        5 => edges(definition).push(json!({"from": id, "to": other_id})),
        6 => {
            let gone = definition["nodes"].as_array_mut().unwrap().remove(at);
            edges(definition).retain(|edge| edge["from"] != gone["id"] && edge["to"] != gone["id"]);
        }
        7 => {
            let mut copy = definition["nodes"][at].clone();
            copy["id"] = json!(format!("{}_copy", text(&id)));
            if copy["config"]["body"]["nodes"].is_null() {
                definition["nodes"].as_array_mut().unwrap().push(copy);
            }
        }
        8 => {
            let swapped = definition
                .to_string()
                .replace(&format!("nodes.{}.", text(&id)), &format!("nodes.{}.", text(&other_id)));
            *definition = serde_json::from_str(&swapped).unwrap();
        }
        // A guard stands at another edge.
        9 if has_edges => {
            let moved = edges(definition)[edge].as_object_mut().unwrap().remove("when");
            let place = random.below(edges(definition).len());
            if let Some(guard) = moved {
                edges(definition)[place]["when"] = guard;
            }
        }
        // Two nodes are one.
        10 if at != other => {
            let gone = definition["nodes"].as_array_mut().unwrap().remove(at);
            let (old, new) = (format!("nodes.{}.", text(&gone["id"])), format!("nodes.{}.", text(&other_id)));
            *definition = serde_json::from_str(&definition.to_string().replace(&old, &new)).unwrap();
            edges(definition).retain(|edge| edge["to"] != gone["id"]);
            edges(definition).iter_mut().filter(|edge| edge["from"] == gone["id"]).for_each(|edge| {
                edge["from"] = other_id.clone();
            });
        }
        // A node is given something else, or does something else.
        11 if definition["nodes"][at]["type"] == "function" => {
            let name = random.pick(&["/input/x", "/config/name"]);
            if let Some(value) = definition["nodes"][at].pointer_mut(name) {
                *value = json!(*random.pick(&["f", "g"]));
            }
        }
        12 if definition["nodes"][at]["type"] == "function" => {
            definition["nodes"][at]["effect"] = json!(*random.pick(&["pure", "read", "write"]));
        }
        _ => {
            let node = definition["nodes"][at].as_object_mut().unwrap();
            if node["type"] != "join" && node.remove("on_error").is_none() {
                node.insert("on_error".to_owned(), json!("continue"));
            }
        }
    }
}
