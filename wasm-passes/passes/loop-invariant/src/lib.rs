//! Computes once, before a map or a loop, what its body computes alike each time.
//!
//! A `pure` function without an edge into it, that reads nothing of the body, gives the same for each item. It moves
//! before the map, which waits for it. A list may be empty: so it is called only where a guard says that there is an
//! item, and a loop's where its condition holds at first. A failure of it fails the map or loop, and with it the run
//! (or the item around it), as before: neither takes failures in another way.

use apex_pass::graph::NodeIx;
use apex_pass::input::{Effect, Input};
use apex_pass::{Expected, Graph, Patch};
use serde_json::{Value, json};

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    let mut graph = Graph::new(input);
    for owner in graph.nodes() {
        if let Some(entry) = entry(&graph, owner)
            && may_wait(&graph, owner)
            && let Some(inner) = graph.inside(owner).iter().copied().find(|&ix| is_invariant(&graph, owner, ix))
        {
            hoist(&mut graph, owner, inner, entry);
        }
    }
    graph.finish()
}

/// Whether a body is done at all.
enum Entry {
    Always,
    Where(String),
}

/// What a guard before a map or loop would have to ask.
fn entry(graph: &Graph<'_>, owner: NodeIx) -> Option<Entry> {
    let (node, config) = (graph.node(owner), graph.body(owner).get("config")?);
    if node.kind == "map" {
        return match config.get("over")? {
            Value::Array(items) => (!items.is_empty()).then_some(Entry::Always),
            over => {
                let list = over.as_str()?.strip_prefix("${")?.strip_suffix('}')?.trim();
                is_reference(list).then(|| Entry::Where(format!("{list} != null && size({list}) > 0")))
            }
        };
    }
    let condition = config.get("while")?.as_str()?.trim();
    let about_iterations = node.reads.iter().any(|read| matches!(&*read.what, "iteration" | "last"));
    match about_iterations {
        false if condition == "true" => Some(Entry::Always),
        false => Some(Entry::Where(condition.to_owned())),
        true => holds_at_first(condition).then_some(Entry::Always),
    }
}

/// Whether a text only reads, without computing anything: `nodes.a.output.list`, `nodes["a-b"].output`.
fn is_reference(text: &str) -> bool {
    let mut is_quoted = false;
    text.chars().all(|next| {
        is_quoted ^= next == '"';
        is_quoted || next == '"' || matches!(next, '.' | '_' | '[' | ']') || next.is_ascii_alphanumeric()
    })
}

/// Conditions that hold before the first iteration, as people write them: `iteration < 3`, `last == null || …`.
fn holds_at_first(condition: &str) -> bool {
    let counts = condition.strip_prefix("iteration <").and_then(|most| most.trim().parse::<u32>().ok());
    let starts = condition.strip_prefix("last == null").map(str::trim_start);
    let or = starts.is_some_and(|rest| rest.is_empty() || rest.starts_with("||") && !rest.contains('?'));
    counts.is_some_and(|most| most > 0) || or
}

/// Whether something more may be done before a map or loop that fails where its body does.
fn may_wait(graph: &Graph<'_>, owner: NodeIx) -> bool {
    let body = graph.body(owner);
    let skips = body.pointer("/config/on_item_error").is_some_and(|rule| rule == "skip");
    let free = graph.sources(owner).chain([owner]).all(|ix| graph.is_free(ix));
    free && !skips && graph.is_strict(owner) && body.get("correction").is_none()
}

fn is_invariant(graph: &Graph<'_>, owner: NodeIx, ix: NodeIx) -> bool {
    let node = graph.node(ix);
    let own: [&str; 2] = if graph.node(owner).kind == "map" { ["item", "index"] } else { ["iteration", "last"] };
    let reads_body = node.reads.iter().any(|read| {
        own.contains(&&*read.what) || graph.inside(owner).iter().any(|&other| graph.is_among(other, &node.reads))
    });
    let first = graph.ways_in(ix).is_empty() && node.effect == Effect::Pure && node.kind == "function";
    let ways = graph.ways_out(ix).iter().zip(graph.targets(ix)).all(|(&edge, to)| {
        graph.guard(edge).is_none() && !graph.edge(edge).on_error && starts_anyway(graph, to, ix) && graph.is_free(to)
    });
    let leaf = graph.ways_out(ix).is_empty() && !graph.has_output(ix);
    let call = graph.is_call(ix) && graph.is_strict(ix) && graph.is_free(ix);
    first && call && ways && !reads_body && !leaf && !graph.is_alone(ix)
}

/// Whether a node starts each time although it waits for another one no more: it waited for nothing else, or waits for
/// what always goes well.
fn starts_anyway(graph: &Graph<'_>, to: NodeIx, without: NodeIx) -> bool {
    let mut others =
        graph.ways_in(to).iter().zip(graph.sources(to)).filter(|(_, source)| *source != without).peekable();
    others.peek().is_none()
        || others.any(|(&edge, source)| {
            let plain = graph.guard(edge).is_none() && !graph.edge(edge).on_error;
            plain && graph.ways_in(source).is_empty() && graph.is_strict(source)
        })
}

fn hoist(graph: &mut Graph<'_>, owner: NodeIx, inner: NodeIx, entry: Entry) {
    let (id, owner_id) = (graph.node(inner).id.clone(), graph.node(owner).id.clone());
    let node = graph.body(inner).clone();
    graph.remove_node(inner);
    graph.add(owner, "nodes", node);
    let ways = graph.ways_in(owner).to_vec();
    let into = |graph: &Graph<'_>, edge, to: &str| {
        let mut copy = graph.way(edge);
        copy["to"] = to.into();
        copy
    };
    let mut edges: Vec<Value> = Vec::new();
    match entry {
        Entry::Always => edges.extend(ways.iter().map(|&edge| into(graph, edge, &id))),
        Entry::Where(guard) => {
            let plain = |edge| graph.guard(edge).is_none() && !graph.edge(edge).on_error;
            let source = match ways.as_slice() {
                [one] if plain(*one) => graph.edge(*one).from.clone(),
                // The guard is asked once all is decided that the map or loop waits for.
                _ => {
                    let ready = graph.fresh(&format!("{owner_id}_ready"));
                    graph.add(owner, "nodes", json!({"id": ready, "type": "join"}));
                    edges.extend(ways.iter().map(|&edge| into(graph, edge, &ready)));
                    edges.push(json!({"from": ready, "to": owner_id}));
                    ways.iter().for_each(|&edge| graph.remove_edge(edge));
                    ready
                }
            };
            edges.push(json!({"from": source, "to": id, "when": guard}));
        }
    }
    edges.push(json!({"from": id, "to": owner_id}));
    edges.into_iter().for_each(|edge| graph.add(owner, "edges", edge));
    let saved = saved(graph, owner, inner);
    graph.sources(owner).collect::<Vec<_>>().into_iter().for_each(|source| graph.touch(source));
    graph.inside(owner).to_vec().into_iter().for_each(|other| graph.touch(other));
    let each = if graph.node(owner).kind == "map" { "for each item" } else { "in each iteration" };
    graph.found(&[inner, owner], format!("{id} gives the same {each} of {owner_id}"), saved);
}

/// All calls of a run but the first of each map or loop.
fn saved(graph: &Graph<'_>, owner: NodeIx, inner: NodeIx) -> Expected {
    let (Some(seen), Some(around)) = (graph.observed(inner), graph.observed(owner)) else {
        return Expected::default();
    };
    let calls = (seen.starts_per_run - around.starts_per_run).max(0.0);
    Expected { calls, work_s: calls * seen.mean_s, latency_s: 0.0 }
}

apex_pass::export!(crate::pass);
