//! What runs of a definition do, written apart from the checker and as simply as can be: every node in order, calls
//! answered by a hash of what they are given.
//!
//! A call that fails for good, or a guard that cannot be evaluated, ends a run; what does not wait for it may be done
//! or not, by the time. So an outcome says what can be done at most, and what fails. How long a call takes is a hash of
//! where it stands, so races of calls that a patch leaves alone end as they did. Nothing is taken back (`cancel_rest`).

use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The world: what calls answer, and which fail.
pub(crate) struct World {
    pub(crate) seed: u64,
    /// Percent of calls and guards that fail.
    pub(crate) failing: u64,
    /// Only these may fail; `None`: any.
    pub(crate) may_fail: Option<BTreeSet<String>>,
    /// Calls, by id, that stand in so many bodies elsewhere: they fail here as they do there.
    pub(crate) homes: BTreeMap<String, usize>,
    /// Calls, by id, that go well, whatever an equal one does.
    pub(crate) spared: BTreeSet<String>,
}

/// In how many bodies each node stands.
pub(crate) fn depths(graph: &Json) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut open = vec![(graph, 0)];
    while let Some((graph, depth)) = open.pop() {
        for node in graph["nodes"].as_array().into_iter().flatten() {
            found.insert(node["id"].as_str().unwrap().to_owned(), depth);
            open.push((&node["config"]["body"], depth + 1));
        }
    }
    found
}

/// What a run does.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// `None` where it fails.
    pub(crate) output: Option<Json>,
    /// Calls that change the world or wait for it: by instance, what they are given.
    pub(crate) writes: BTreeMap<Rc<str>, String>,
    /// Pairs of them of which the first is always done before the second.
    pub(crate) order: BTreeSet<(Rc<str>, Rc<str>)>,
    /// All calls and guards.
    pub(crate) done: BTreeSet<String>,
    /// Those that end the run.
    pub(crate) fatal: BTreeSet<String>,
    /// The nodes that make the calls.
    pub(crate) callers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Ok,
    Failed,
    Skipped,
    /// It waits for something that never comes.
    Blocked,
}

struct Frame<'f> {
    outer: Option<&'f Frame<'f>>,
    depth: usize,
    outputs: BTreeMap<String, Json>,
    statuses: BTreeMap<String, Status>,
    /// When each node was decided, and what time it is for the one looked at.
    times: BTreeMap<String, u64>,
    now: u64,
    /// What was called for each node.
    whats: BTreeMap<String, String>,
    item: Json,
    /// In a loop: what the iteration before gave.
    last: Option<Json>,
    /// The nodes of this graph that stand before the one looked at and change the world, whether they were done or not.
    stands: BTreeSet<String>,
    /// What of `writes` is done before anything here.
    past: BTreeSet<Rc<str>>,
    path: String,
}

impl Frame<'_> {
    /// Whether a node of this graph is decided by now.
    fn sees(&self, id: &str) -> bool {
        self.times.get(id).is_some_and(|&time| time <= self.now)
    }
}

fn hash(seed: u64, text: &str) -> u64 {
    let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        state ^= state >> 29;
    }
    state ^ (state >> 32)
}

pub(crate) fn run(definition: &Json, world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let frame = Frame {
        outer: None,
        depth: 0,
        outputs: BTreeMap::new(),
        statuses: BTreeMap::new(),
        times: BTreeMap::new(),
        now: 0,
        whats: BTreeMap::new(),
        item: Json::Null,
        last: None,
        stands: BTreeSet::new(),
        past: BTreeSet::new(),
        path: String::new(),
    };
    let (output, _) = graph(definition, frame, world, &mut outcome);
    outcome.output = output.filter(|_| outcome.fatal.is_empty());
    outcome
}

impl World {
    fn fails(&self, what: &str) -> bool {
        hash(self.seed ^ 77, what) % 100 < self.failing && self.may_fail.as_ref().is_none_or(|may| may.contains(what))
    }
}

fn edges(graph: &Json) -> Vec<&Json> {
    graph.get("edges").and_then(Json::as_array).into_iter().flatten().collect()
}

/// What a graph gives (`None`: it fails or never ends), and what of `writes` is done in it and before it.
fn graph(
    graph: &Json,
    mut frame: Frame<'_>,
    world: &World,
    outcome: &mut Outcome,
) -> (Option<Json>, BTreeSet<Rc<str>>) {
    let nodes: Vec<&Json> = graph["nodes"].as_array().unwrap().iter().collect();
    let edges = edges(graph);
    let id = |node: &Json| node["id"].as_str().unwrap().to_owned();
    let mut left = nodes.clone();
    let mut live: BTreeSet<usize> = BTreeSet::new();
    let mut pasts: BTreeMap<String, BTreeSet<Rc<str>>> = BTreeMap::new();
    let mut stands: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut fails = false;
    // What comes after the failure of a join only is never done: a join that undoes nothing does not fail.
    let mut never: BTreeSet<String> = BTreeSet::new();
    let cannot_fail = |id: &str| {
        nodes.iter().any(|node| node["id"] == id && node["type"] == "join" && node.get("compensation").is_none())
    };
    while !left.is_empty() {
        // The first whose sources are all decided.
        let ready = left.iter().position(|node| {
            edges
                .iter()
                .all(|edge| edge["to"] != node["id"] || frame.statuses.contains_key(edge["from"].as_str().unwrap()))
        });
        let node = left.remove(ready.unwrap());
        let name = id(node);
        let into: Vec<usize> = (0..edges.len()).filter(|&at| edges[at]["to"] == node["id"]).collect();
        let sources: Vec<&str> = into.iter().map(|&at| edges[at]["from"].as_str().unwrap()).collect();
        // The times at which an edge came to life, and how many of them are waited for; `None`: until all is decided.
        let mut lives: Vec<u64> = into
            .iter()
            .filter(|at| live.contains(at))
            .map(|&at| frame.times[edges[at]["from"].as_str().unwrap()])
            .collect();
        lives.sort_unstable();
        let needs = match &node["join"] {
            rule if rule == "any" => Some(1),
            rule => rule["quorum"].as_u64().map(|count| count as usize),
        };
        let last = sources.iter().map(|source| frame.times[*source]).max().unwrap_or(0);
        let mut past = frame.past.clone();
        frame.stands.clear();
        // What is before it in every run: all that is before any source, or before each where it does not wait for all.
        for (number, source) in sources.iter().enumerate() {
            match needs {
                Some(_) if number > 0 => {
                    past.retain(|write| frame.past.contains(write) || pasts[*source].contains(write));
                    frame.stands.retain(|stand| stands[*source].contains(stand));
                }
                _ => {
                    past.extend(pasts[*source].iter().cloned());
                    frame.stands.extend(stands[*source].iter().cloned());
                }
            }
        }
        let is_blocked = sources.iter().any(|source| frame.statuses[*source] == Status::Blocked);
        let (mut status, begin) = match needs.filter(|_| !into.is_empty()) {
            Some(count) => match lives.get(count - 1) {
                Some(&time) => (Status::Ok, time),
                None => (if is_blocked { Status::Blocked } else { Status::Skipped }, last),
            },
            None if is_blocked => (Status::Blocked, last),
            None => (if into.is_empty() || !lives.is_empty() { Status::Ok } else { Status::Skipped }, last),
        };
        frame.now = begin;
        let mut what = String::new();
        if status == Status::Ok {
            let answer;
            (what, answer) = call(node, &frame, &mut past, world, outcome);
            frame.whats.insert(name.clone(), value_of(&what).to_owned());
            match answer {
                Some(output) => drop(frame.outputs.insert(name.clone(), output)),
                // A list or a condition that cannot be evaluated ends the run, whatever stands after a failure.
                None if matches!(node["type"].as_str(), Some("map" | "loop")) && !what.starts_with("body of ") => {
                    status = Status::Blocked;
                    fails = true;
                }
                None => status = Status::Failed,
            }
        }
        let takes = hash(world.seed ^ 5, &format!("{}{name}", frame.path)) % 1_000_000;
        frame.now += if status == Status::Skipped { 0 } else { takes };
        frame.times.insert(name.clone(), frame.now);
        // Guards are evaluated when their source is decided; one that fails ends the run there.
        let mut handled = node["on_error"] == "continue";
        frame.statuses.insert(name.clone(), status);
        for (at, edge) in edges.iter().enumerate().filter(|(_, edge)| edge["from"] == node["id"]) {
            let takes = if edge.get("on").is_some() { Status::Failed } else { Status::Ok };
            if status != takes {
                continue;
            }
            let is_live = match edge.get("when") {
                None => true,
                Some(guard) if guard == "true" => true,
                Some(guard) => {
                    let asked = asked(guard.as_str().unwrap(), &frame);
                    outcome.done.insert(asked.clone());
                    let is_told = !world.fails(&asked);
                    if !is_told {
                        outcome.fatal.insert(asked);
                        fails = true;
                        frame.statuses.insert(name.clone(), Status::Blocked);
                    }
                    is_told && truth(guard.as_str().unwrap(), &frame)
                }
            };
            if is_live {
                live.insert(at);
                handled |= takes == Status::Failed;
            }
        }
        if status == Status::Failed && !handled {
            outcome.fatal.insert(what);
            fails = true;
            frame.statuses.insert(name.clone(), Status::Blocked);
        }
        let is_dead = |&at: &usize| {
            let from = edges[at]["from"].as_str().unwrap();
            never.contains(from) || (edges[at].get("on").is_some() && cannot_fail(from))
        };
        if !into.is_empty() && into.iter().all(is_dead) {
            never.insert(name.clone());
        }
        let mut standing = frame.stands.clone();
        standing.extend((changes(node) && !never.contains(&name)).then(|| name.clone()));
        stands.insert(name.clone(), standing);
        pasts.insert(name, past);
    }
    frame.now = u64::MAX;
    let all = pasts.into_values().flatten().collect();
    if fails || frame.statuses.values().any(|status| *status == Status::Blocked) {
        return (None, all);
    }
    let output = match graph.get("output") {
        Some(output) => rendered(output, &frame, &read),
        None => {
            let is_leaf = |node: &&&Json| !edges.iter().any(|edge| edge["from"] == node["id"]);
            let leaves =
                nodes.iter().filter(is_leaf).filter_map(|node| Some((id(node), frame.outputs.get(&id(node))?.clone())));
            Json::Object(leaves.collect::<Map<String, Json>>())
        }
    };
    (Some(output), all)
}

/// Whether a node, or one inside it, changes the world or waits for it.
fn changes(node: &Json) -> bool {
    let inside = node["config"]["body"].get("nodes").and_then(Json::as_array);
    node["effect"] == "write" || node["type"] == "timer" || inside.is_some_and(|nodes| nodes.iter().any(changes))
}

/// What a call gives: a pure one the same in every body, although it may fail in each by itself.
fn value_of(what: &str) -> &str {
    pure_call(what).map_or(what, |(_, term)| term)
}

/// Of a pure call, the body that it is done in, and what is called.
pub(crate) fn pure_call(what: &str) -> Option<(&str, &str)> {
    let at = what.strip_prefix("pure ")?;
    Some(at.rfind('.').map_or(("", at), |dot| at.split_at(dot + 1)))
}

/// What is called, and the answer.
fn call(
    node: &Json,
    frame: &Frame<'_>,
    past: &mut BTreeSet<Rc<str>>,
    world: &World,
    outcome: &mut Outcome,
) -> (String, Option<Json>) {
    let path = format!("{}{}", frame.path, node["id"].as_str().unwrap());
    let kind = node["type"].as_str().unwrap();
    let mut given = node.clone();
    given.as_object_mut().unwrap().remove("id");
    match kind {
        "join" => (String::new(), Some(json!({}))),
        "map" | "loop" => {
            // A list and a condition are looked at as a guard is.
            let config = &node["config"];
            let looks_at = match kind {
                "map" => inside(config["over"].as_str().unwrap_or_default()).map(has_items),
                _ => config["while"].as_str().filter(|condition| condition.starts_with("nodes.")).map(str::to_owned),
            };
            if let Some(guard) = &looks_at {
                let asked = asked(guard, frame);
                outcome.done.insert(asked.clone());
                if world.fails(&asked) {
                    outcome.fatal.insert(asked.clone());
                    return (asked, None);
                }
            }
            // Conditions of loops that are about iterations hold at least so often.
            let over = match config["max_iterations"].as_u64() {
                Some(_) if looks_at.is_some_and(|condition| !truth(&condition, frame)) => json!([]),
                Some(count) => (0..count).collect(),
                None => rendered(&config["over"], frame, &read),
            };
            let mut outputs = Vec::new();
            let (mut all, mut fails) = (past.clone(), false);
            for (index, item) in over.as_array().into_iter().flatten().enumerate() {
                if kind == "loop" {
                    if fails {
                        break;
                    }
                    past.clone_from(&all);
                }
                let inner = Frame {
                    outer: Some(frame),
                    depth: frame.depth + 1,
                    outputs: BTreeMap::new(),
                    statuses: BTreeMap::new(),
                    times: BTreeMap::new(),
                    now: 0,
                    whats: BTreeMap::new(),
                    item: if kind == "map" { item.clone() } else { Json::Null },
                    last: (kind == "loop").then(|| outputs.last().cloned().unwrap_or_default()),
                    stands: BTreeSet::new(),
                    past: past.clone(),
                    path: format!("{path}[{index}]."),
                };
                let (output, done) = graph(&node["config"]["body"], inner, world, outcome);
                all.extend(done);
                fails |= output.is_none();
                outputs.push(output.unwrap_or_default());
            }
            *past = all;
            // What failed is fatal already, in the body.
            let output = if kind == "map" { Json::from(outputs) } else { outputs.pop().unwrap_or_default() };
            (format!("body of {path}"), (!fails).then_some(output))
        }
        _ => {
            let home = world.homes.get(node["id"].as_str().unwrap()).copied().unwrap_or(frame.depth);
            let mut stands = frame;
            while let Some(outer) = stands.outer.filter(|_| stands.depth > home) {
                stands = outer;
            }
            let term = hash(0, &rendered(&given, frame, &origin).to_string());
            let origin = format!("{}{term}", stands.path);
            // What moved is done here as well, where an equal call stands here still: it fails as either does.
            let here = (home < frame.depth).then(|| format!("pure {}{term}", frame.path));
            let given = rendered(&given, frame, &read);
            let effect =
                node.get("effect").and_then(Json::as_str).unwrap_or(if kind == "http" { "read" } else { "write" });
            // Calls that are given the same answer the same. Whether a call fails does not follow from that: two that
            // are given the same by chance, or in two bodies, may fail one by one.
            let (answered, what) = match effect {
                "pure" => (format!("{given}"), format!("pure {origin}")),
                // A read sees what was done before it; what is done meanwhile it may see or not.
                "read" => (format!("{given} after {past:?}"), format!("read {origin} after {:?}", frame.stands)),
                _ => (format!("{path} {given}"), format!("{path} {origin}")),
            };
            outcome.done.insert(what.clone());
            outcome.done.extend(here.clone());
            outcome.callers.insert(what.clone(), node["id"].as_str().unwrap().to_owned());
            if effect == "write" {
                let path: Rc<str> = path.into();
                outcome.order.extend(past.iter().map(|before| (before.clone(), path.clone())));
                outcome.writes.insert(path.clone(), given.to_string());
                past.insert(path);
            }
            let answer = hash(world.seed, &answered);
            let items: Vec<u64> = (0..answer % 3).collect();
            let output = json!({"k": answer % 1000, "b0": answer & 16 == 0, "b1": answer & 32 == 0, "l": items});
            let is_spared = world.spared.contains(node["id"].as_str().unwrap());
            let fails = !is_spared && (world.fails(&what) || here.is_some_and(|here| world.fails(&here)));
            let output = (!fails).then_some(output);
            (what, output)
        }
    }
}

/// What `nodes.x.output.f`, `nodes.x.status`, `item` and `inputs.f` are.
fn read(reference: &str, frame: &Frame<'_>) -> Json {
    let parts: Vec<&str> = reference.split('.').collect();
    match parts.as_slice() {
        ["item"] => match (&frame.item, frame.outer) {
            (Json::Null, Some(outer)) => read(reference, outer),
            (item, _) => item.clone(),
        },
        ["last"] => match (&frame.last, frame.outer) {
            (None, Some(outer)) => read(reference, outer),
            (last, _) => last.clone().unwrap_or_default(),
        },
        ["inputs", name] => json!(format!("input {name}")),
        ["nodes", id, rest @ ..] => {
            let Some(status) = frame.statuses.get(*id) else {
                return frame.outer.map_or(Json::Null, |outer| read(reference, outer));
            };
            let is_seen = frame.sees(id);
            match rest {
                _ if !is_seen => Json::Null,
                ["output", field] => frame.outputs.get(*id).map_or(Json::Null, |output| output[*field].clone()),
                ["output"] => frame.outputs.get(*id).cloned().unwrap_or_default(),
                ["status"] => json!(format!("{status:?}")),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// The reference in `${…}`.
fn inside(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// The guard before a map.
fn has_items(list: &str) -> String {
    format!("{list} != null && size({list}) > 0")
}

/// A guard is a reference (null is false), or asks whether a list has items.
fn truth(guard: &str, frame: &Frame<'_>) -> bool {
    match guard.split_once(" != null") {
        Some((list, _)) => read(list, frame).as_array().is_some_and(|items| !items.is_empty()),
        None => read(guard, frame) == json!(true),
    }
}

/// What a guard asks.
fn asked(guard: &str, frame: &Frame<'_>) -> String {
    match guard.split_once(" != null") {
        Some((list, _)) => format!("{}items of {}", frame.path, origin(list, frame)),
        None => format!("{}guard {}", frame.path, origin(guard, frame)),
    }
}

/// What a reference reads, by what was called there, whatever its id.
fn origin(reference: &str, frame: &Frame<'_>) -> Json {
    let Some((id, field)) = reference.strip_prefix("nodes.").and_then(|rest| rest.split_once('.')) else {
        // Of which body: that two lists hold the same is chance.
        let mut body = Some(frame).filter(|_| matches!(reference, "item" | "last"));
        while let Some(at) = body.filter(|at| if reference == "item" { at.item.is_null() } else { at.last.is_none() }) {
            body = at.outer;
        }
        return json!(format!("{reference} of {:?}", body.map(|body| &body.path)));
    };
    let mut holder = Some(frame);
    while let Some(at) = holder.filter(|at| !at.statuses.contains_key(id)) {
        holder = at.outer;
    }
    let of = holder.filter(|at| at.sees(id)).map(|at| (at.whats.get(id), at.statuses[id]));
    json!(format!("{field} of {of:?}"))
}

/// A value with what its references read.
fn rendered(value: &Json, frame: &Frame<'_>, read: &dyn Fn(&str, &Frame<'_>) -> Json) -> Json {
    match value {
        Json::String(text) => match inside(text) {
            Some(reference) => read(reference, frame),
            None => value.clone(),
        },
        Json::Array(items) => items.iter().map(|item| rendered(item, frame, read)).collect::<Vec<_>>().into(),
        Json::Object(map) => {
            map.iter().map(|(name, item)| (name.clone(), rendered(item, frame, read))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
