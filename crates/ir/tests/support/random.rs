//! Random definitions, and random changes of them, from a seed.

use serde_json::{Value as Json, json};

/// A small generator (splitmix64): the same seed gives the same definition.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A graph whose ids begin with `prefix`: nodes, edges and, sometimes, bodies.
pub(crate) fn graph(random: &mut Random, prefix: &str, depth: usize) -> Json {
    let count = 1 + random.below(6);
    let nodes: Vec<Json> = (0..count).map(|at| node(random, &format!("{prefix}{at}"), depth)).collect();
    let mut edges = Vec::new();
    for to in 1..count {
        for from in 0..to {
            if random.chance(35) {
                edges.push(edge(random, &format!("{prefix}{from}"), &format!("{prefix}{to}")));
            }
        }
    }
    let mut graph = json!({"nodes": nodes});
    if !edges.is_empty() || random.chance(50) {
        graph["edges"] = edges.into();
    }
    graph
}

pub(crate) fn node(random: &mut Random, id: &str, depth: usize) -> Json {
    match random.below(if depth > 0 { 6 } else { 4 }) {
        0 => json!({"id": id, "type": "join"}),
        1 => {
            json!({"id": id, "type": "http", "config": {"url": "https://example.com/", "body": {"nodes": [1], "edges": {}}}})
        }
        2 => json!({"id": id, "type": "timer", "config": {"duration_s": 1 + random.below(3)}}),
        3 => {
            let mut node = json!({"id": id, "type": "function", "config": {"name": *random.pick(&["f", "g"])}});
            if random.chance(50) {
                node["input"] = json!({"x": random.below(3)});
            }
            node
        }
        4 => {
            json!({"id": id, "type": "map", "config": {"over": [1], "body": graph(random, &format!("{id}_"), depth - 1)}})
        }
        _ => json!({"id": id, "type": "loop",
            "config": {"while": "iteration < 2", "max_iterations": 3, "body": graph(random, &format!("{id}_"), depth - 1)}}),
    }
}

fn edge(random: &mut Random, from: &str, to: &str) -> Json {
    let mut edge = json!({"from": from, "to": to});
    if random.chance(25) {
        edge["when"] = json!(format!("inputs.a == {}", random.below(3)));
    }
    if random.chance(10) {
        edge["on"] = json!("error");
    }
    edge
}

pub(crate) fn definition(random: &mut Random) -> Json {
    let mut definition = graph(random, "n", 2);
    definition["name"] = json!("w");
    definition["version"] = json!("1");
    if random.chance(50) {
        definition["output"] = json!({"a": 1});
    }
    definition
}

/// The graph at one of the places where there is one.
fn some_graph<'d>(random: &mut Random, definition: &'d mut Json) -> (&'d mut Json, String) {
    let mut places = vec![(String::new(), "n".to_owned())];
    let mut next = 0;
    while let Some((at, _)) = places.get(next).cloned() {
        next += 1;
        for (i, node) in definition.pointer(&at).unwrap()["nodes"].as_array().unwrap().iter().enumerate() {
            if matches!(node["type"].as_str(), Some("map" | "loop")) {
                places.push((format!("{at}/nodes/{i}/config/body"), format!("{}_", node["id"].as_str().unwrap())));
            }
        }
    }
    let (at, prefix) = random.pick(&places).clone();
    (definition.pointer_mut(&at).unwrap(), prefix)
}

/// Changes a definition a little: it compiles before and after.
pub(crate) fn change(random: &mut Random, definition: &mut Json) {
    let depth = random.below(2);
    let fresh = random.next() % 1_000_000_000;
    let (graph, prefix) = some_graph(random, definition);
    let nodes = graph["nodes"].as_array_mut().unwrap();
    let at = random.below(nodes.len());
    match random.below(10) {
        0 | 1 => {
            let fresh = node(random, &format!("{prefix}new{fresh}"), depth);
            nodes.insert(random.below(nodes.len() + 1), fresh);
        }
        2 if nodes.len() > 1 => {
            let gone = nodes.remove(at)["id"].clone();
            if let Some(edges) = graph.get_mut("edges").and_then(Json::as_array_mut) {
                edges.retain(|edge| edge["from"] != gone && edge["to"] != gone);
            }
        }
        3 => {
            let moved = nodes.remove(at);
            nodes.insert(random.below(nodes.len() + 1), moved);
        }
        4 => nodes[at] = node(random, nodes[at]["id"].as_str().unwrap(), depth),
        5 => nodes[at]["priority"] = json!(*random.pick(&["high", "low"])),
        6 => drop(nodes[at].as_object_mut().unwrap().remove("priority")),
        7 => {
            // From lower to higher places in this list: no cycle with edges that go the same way by name.
            let id = |at: usize| nodes[at]["id"].as_str().unwrap().to_owned();
            let (a, b) = (id(at), id(random.below(nodes.len())));
            let (from, to) = if a < b { (a, b) } else { (b, a) };
            if from != to {
                let made = edge(random, &from, &to);
                if graph.get("edges").is_none() {
                    graph["edges"] = json!([]);
                }
                let edges = graph["edges"].as_array_mut().unwrap();
                edges.retain(|edge| edge["from"] != made["from"] || edge["to"] != made["to"]);
                edges.insert(random.below(edges.len() + 1), made);
            }
        }
        8 => {
            if let Some(edges) = graph.get_mut("edges").and_then(Json::as_array_mut).filter(|edges| !edges.is_empty()) {
                let gone = random.below(edges.len());
                edges.remove(gone);
            }
        }
        _ => definition["output"] = json!({"a": random.below(5)}),
    }
}
