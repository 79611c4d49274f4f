//! What a routing decision costs: nanoseconds of CPU (of this thread) per node for a chain, a fan and a layered graph, and records
//! folded per second in replay; full, fast, full, fast. The log is memory and is durable at once; jobs answer at once.
//!
//! `cargo run --release -p apex-machine --example route`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use apex_machine::command::{Command, JobResult, Outcome, RegisterWorkflow, Selector, StartRun};
use apex_machine::record::split_records;
use apex_machine::{Config, Fidelity, Machine, RunId};
use rustix::time::{ClockId, clock_gettime};
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

fn main() {
    let seconds: f64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1.0);
    for (name, definition, at_once) in
        [("chain of 10", chain(10), 128), ("fan of 100", fan(100), 16), ("dag of 1,000", layers(20, 50), 4)]
    {
        for fidelity in [Fidelity::Full, Fidelity::Fast, Fidelity::Full, Fidelity::Fast] {
            measure(name, &definition, at_once, seconds, fidelity);
        }
    }
}

/// Other work on the machine makes time pass, but not this.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn measure(name: &str, definition: &str, at_once: usize, seconds: f64, fidelity: Fidelity) {
    let mut machine = Machine::new(Config::default());
    let register = RegisterWorkflow { tenant: "t".into(), definition: definition.as_bytes().to_vec(), tag: None };
    machine.step(1, vec![(1, Command::RegisterWorkflow(register))]);
    let answer = machine.advance(u64::MAX).replies.remove(0).outcome.unwrap();
    let workflow = name.split(' ').next().unwrap().to_owned();
    assert!(!answer.details.is_empty());
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut commands = Vec::new();
    let (mut started, mut open, mut nodes) = (0u64, 0usize, 0u64);
    let (mut in_step, mut in_advance) = (0u64, 0u64);
    let begin = Instant::now();
    let mut now = 1;
    loop {
        let is_over = begin.elapsed().as_secs_f64() > seconds;
        while open < at_once && !is_over {
            started += 1;
            open += 1;
            let start = StartRun {
                tenant: "t".into(),
                run_id: RunId::new_v7(started, (started % 64) as u16, started),
                workflow: workflow.clone(),
                selector: Selector::Latest,
                inputs: b"{\"x\":1}".to_vec(),
                idempotency_key: String::new(),
                request_hash: [0; 32],
                correlation: String::new(),
                priority: apex_ir::ir::Priority::Medium,
                labels: Vec::new(),
                fidelity: Some(fidelity),
                goal: None,
                schedule: String::new(),
            };
            commands.push((0, Command::StartRun(Box::new(start))));
        }
        now += 1_000;
        let at = cpu_ns();
        let turn = machine.step(now, std::mem::take(&mut commands));
        in_step += cpu_ns() - at;
        if turn.count > 0 {
            log.push(turn.records);
        }
        let at = cpu_ns();
        let released = machine.advance(turn.position);
        in_advance += cpu_ns() - at;
        open -= released.ended.len();
        nodes += released.jobs.len() as u64;
        for job in &released.jobs {
            let result =
                JobResult { job: job.id, attempt: job.attempt, outcome: Outcome::Ok(b"{\"ok\":true}".to_vec()) };
            commands.push((0, Command::JobResult(result)));
        }
        if is_over && open == 0 {
            break;
        }
    }
    let records = machine.position() as f64;
    let bytes: usize = log.iter().map(Vec::len).sum();
    println!(
        "{name:14} {} {:6.0} ns a node (step {:.0}, advance {:.0}); {:.0} nodes/s, {:.0} bytes a node, {:.1} events a node",
        fidelity.as_str(),
        (in_step + in_advance) as f64 / nodes as f64,
        in_step as f64 / nodes as f64,
        in_advance as f64 / nodes as f64,
        nodes as f64 / ((in_step + in_advance) as f64 / 1e9),
        bytes as f64 / nodes as f64,
        records / nodes as f64,
    );
    let first = machine.snapshot();
    let bodies: Vec<&[u8]> = log.iter().flat_map(|records| split_records(records).unwrap()).collect();
    let mut replayed = Machine::new(Config::default());
    let register = RegisterWorkflow { tenant: "t".into(), definition: definition.as_bytes().to_vec(), tag: None };
    replayed.step(1, vec![(1, Command::RegisterWorkflow(register))]);
    let at = cpu_ns();
    for body in &bodies {
        replayed.apply(replayed.position(), body).unwrap();
    }
    let took = (cpu_ns() - at) as f64 / 1e9;
    println!(
        "{:14} replay {:.0} events/s; snapshot equal: {}",
        "",
        bodies.len() as f64 / took,
        replayed.snapshot() == first
    );
}
