//! What a routing decision costs: nanoseconds of CPU (of this thread) per node for a chain of 10, a fan of 100 and a layered
//! graph of 1,000, and records folded per second in replay; full, fast, full, fast. The log is memory and is durable at
//! once; jobs answer at once.
//!
//! `cargo run --release -p apex-machine --example route [seconds]`
//!
//! `route chain 400` decides about 400 runs and does nothing else. Counted by `valgrind --tool=callgrind` for two numbers of
//! runs, the difference is the instructions of what lies between: the same on a busy machine as on an idle one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod common;

use apex_machine::command::{Command, JobResult, Outcome};
use apex_machine::record::split_records;
use apex_machine::{Config, Fidelity, Machine, RunId};
use common::{cpu_ns, machine_with, start};
use std::fmt::Write as _;
use std::time::Instant;

fn chain(n: usize) -> String {
    graph("chain", n, (1..n).map(|i| (i - 1, i)).collect())
}

fn fan(n: usize) -> String {
    graph("fan", n + 2, (1..=n).flat_map(|i| [(0, i), (i, n + 1)]).collect())
}

fn layers(layers: usize, width: usize) -> String {
    let edge =
        |layer: usize, at: usize| [0, 1].map(|step| ((layer - 1) * width + (at + step) % width, layer * width + at));
    let edges = (1..layers).flat_map(|layer| (0..width).flat_map(move |at| edge(layer, at))).collect();
    graph("dag", layers * width, edges)
}

fn graph(name: &str, n: usize, edges: Vec<(usize, usize)>) -> String {
    let mut text = format!("{{\"name\":\"{name}\",\"version\":\"1\",\"nodes\":[");
    let mut source = vec![None; n];
    for &(from, to) in &edges {
        source[to] = Some(from);
    }
    for (i, source) in source.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let input = match source {
            Some(from) => format!("{{\"x\":\"${{nodes.n{from}.output}}\"}}"),
            None => "{\"x\":\"${inputs.x}\"}".into(),
        };
        write!(text, "{comma}{{\"id\":\"n{i}\",\"type\":\"function\",\"effect\":\"pure\",\"config\":{{\"name\":\"f\"}},\"input\":{input}}}").unwrap();
    }
    text.push_str("],\"edges\":[");
    for (i, (from, to)) in edges.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        write!(text, "{comma}{{\"from\":\"n{from}\",\"to\":\"n{to}\"}}").unwrap();
    }
    text.push_str("]}");
    text
}

/// A workflow, and how many runs of it are open at once.
struct Load {
    workflow: &'static str,
    definition: String,
    at_once: usize,
}

/// What was decided about, what that took, and what was recorded.
struct Decided {
    machine: Machine,
    log: Vec<Vec<u8>>,
    nodes: u64,
    in_step: u64,
    in_advance: u64,
}

fn main() {
    let loads = [("chain", chain(10), 128), ("fan", fan(100), 16), ("dag", layers(20, 50), 4)];
    let loads = loads.map(|(workflow, definition, at_once)| Load { workflow, definition, at_once });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [workflow, runs] = &arguments[..] {
        let load = loads.iter().find(|load| load.workflow == workflow).unwrap();
        let runs = runs.parse().unwrap();
        // No clock: that of the system cannot be read under valgrind.
        println!("{} nodes", decide(load, Fidelity::Full, || 0, |started| started < runs).nodes);
        return;
    }
    let seconds: f64 = arguments.first().map_or(1.0, |seconds| seconds.parse().unwrap());
    for load in &loads {
        for fidelity in [Fidelity::Full, Fidelity::Fast, Fidelity::Full, Fidelity::Fast] {
            let begin = Instant::now();
            let decided = decide(load, fidelity, cpu_ns, |_| begin.elapsed().as_secs_f64() <= seconds);
            show(load, fidelity, &decided);
            replay(load, &decided);
        }
    }
}

/// Runs start as long as more are wanted after so many. `clock`: ns of CPU.
fn decide(load: &Load, fidelity: Fidelity, clock: fn() -> u64, wants_more: impl Fn(u64) -> bool) -> Decided {
    let machine = machine_with(Config::default(), &load.definition);
    let mut decided = Decided { machine, log: Vec::new(), nodes: 0, in_step: 0, in_advance: 0 };
    let mut commands = Vec::new();
    let (mut started, mut open, mut now) = (0u64, 0usize, 1);
    loop {
        while open < load.at_once && wants_more(started) {
            started += 1;
            open += 1;
            let run_id = RunId::new_v7(started, (started % 64) as u16, started);
            commands.push((0, start(load.workflow, run_id, b"{\"x\":1}".to_vec(), Some(fidelity))));
        }
        if open == 0 {
            return decided;
        }
        now += 1_000;
        let at = clock();
        let turn = decided.machine.step(now, std::mem::take(&mut commands));
        decided.in_step += clock() - at;
        if turn.count > 0 {
            decided.log.push(turn.records);
        }
        let at = clock();
        let released = decided.machine.advance(turn.position);
        decided.in_advance += clock() - at;
        open -= released.ended.len();
        decided.nodes += released.jobs.len() as u64;
        for job in &released.jobs {
            let result =
                JobResult { job: job.id, attempt: job.attempt, outcome: Outcome::Ok(b"{\"ok\":true}".to_vec()) };
            commands.push((0, Command::JobResult(result)));
        }
    }
}

fn show(load: &Load, fidelity: Fidelity, decided: &Decided) {
    let a_node = |count: u64| count as f64 / decided.nodes as f64;
    let took = decided.in_step + decided.in_advance;
    println!(
        "{:14} {} {:6.0} ns a node (step {:.0}, advance {:.0}); {:.0} nodes/s, {:.0} bytes a node, {:.1} events a node",
        load.workflow,
        fidelity.as_str(),
        a_node(took),
        a_node(decided.in_step),
        a_node(decided.in_advance),
        1e9 / a_node(took),
        a_node(decided.log.iter().map(|records| records.len() as u64).sum()),
        a_node(decided.machine.position()),
    );
}

fn replay(load: &Load, decided: &Decided) {
    let bodies: Vec<&[u8]> = decided.log.iter().flat_map(|records| split_records(records).unwrap()).collect();
    let mut replayed = machine_with(Config::default(), &load.definition);
    let at = cpu_ns();
    for body in &bodies {
        replayed.apply(replayed.position(), body).unwrap();
    }
    let took = (cpu_ns() - at) as f64 / 1e9;
    println!(
        "{:14} replay {:.0} events/s; snapshot equal: {}",
        "",
        bodies.len() as f64 / took,
        replayed.snapshot() == decided.machine.snapshot()
    );
}
