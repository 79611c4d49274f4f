//! What a patch costs a turn: a run of 1,000 nodes in layers is patched 100 times while it executes, ten results between
//! two patches. CPU of this thread for the turns with a patch (median, 99th percentile, longest), beside that of compiling
//! the definition whole. Each patch adds a node in the middle of a layer that has not begun, with an edge into it and one
//! out of it, and has the next layer read it.
//!
//! `cargo run --release -p apex-machine --example patch [nodes [runs]]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod common;

use apex_machine::command::{ApplyPatch, Command, JobResult, Outcome, PatchRules};
use apex_machine::{Config, RunId};
use common::{cpu_ns, machine_with, start};
use std::fmt::Write as _;
use std::sync::Arc;

const WIDTH: usize = 50;
const PATCHES: usize = 100;
const RESULTS_BETWEEN: usize = 5;

/// Layers; each node reads two of the layer before, one edge is guarded.
fn definition(nodes: usize) -> String {
    let mut text = String::from(r#"{"name":"dag","version":"1","nodes":["#);
    let mut edges = String::new();
    for i in 0..nodes {
        let (layer, at) = (i / WIDTH, i % WIDTH);
        let input = if layer == 0 { "${inputs.x}".into() } else { format!("${{nodes.n{}.output.y}}", i - WIDTH) };
        let comma = if i > 0 { "," } else { "" };
        write!(text, r#"{comma}{{"id":"n{i}","type":"function","effect":"pure","config":{{"name":"f"}},"input":{{"x":"{input}"}}}}"#)
            .unwrap();
        if layer > 0 {
            let comma = if edges.is_empty() { "" } else { "," };
            let other = (layer - 1) * WIDTH + (at + 1) % WIDTH;
            write!(edges, r#"{comma}{{"from":"n{}","to":"n{i}","when":"nodes.n{}.output.y >= 0"}},{{"from":"n{other}","to":"n{i}"}}"#, i - WIDTH, i - WIDTH)
                .unwrap();
        }
    }
    write!(text, r#"],"edges":[{edges}]}}"#).unwrap();
    text
}

/// Adds a node between two nodes of the last layers.
fn patch(number: usize, nodes: usize) -> Vec<u8> {
    let (from, to) = (nodes - 2 * WIDTH + number % WIDTH, nodes - WIDTH + number % WIDTH);
    format!(
        r#"[{{"op":"add","path":"/nodes/{}","value":{{"id":"p{number}","type":"function","config":{{"name":"f"}},"input":{{"x":"${{nodes.n{from}.output.y}}"}}}}}},
            {{"op":"add","path":"/edges/-","value":{{"from":"n{from}","to":"p{number}"}}}},
            {{"op":"add","path":"/edges/-","value":{{"from":"p{number}","to":"n{to}"}}}}]"#,
        nodes / 2
    )
    .into_bytes()
}

fn of(times: &[u64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize] as f64 / 1e6
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (nodes, runs) = (arguments.next().unwrap_or(1_000), arguments.next().unwrap_or(5));
    let text = definition(nodes);
    let mut compiling = Vec::new();
    for _ in 0..runs.max(5) {
        let at = cpu_ns();
        std::hint::black_box(apex_ir::compile(text.as_bytes(), None, &apex_ir::Limits::default()).unwrap());
        compiling.push(cpu_ns() - at);
    }
    println!("compile {nodes} nodes: {:.2} ms ({} bytes)", of(&compiling, 0.5), text.len());
    let (mut with_patch, mut without) = (Vec::new(), Vec::new());
    for run in 0..runs {
        one_run(&text, nodes, run as u64 + 1, &mut with_patch, &mut without);
    }
    for (name, times) in [("a patch", &with_patch), ("no patch", &without)] {
        println!(
            "turn with {name:8}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms, first {:.2} ms ({} turns)",
            of(times, 0.5),
            of(times, 0.99),
            of(times, 1.0),
            times[0] as f64 / 1e6,
            times.len()
        );
    }
}

fn one_run(text: &str, nodes: usize, seed: u64, with_patch: &mut Vec<u64>, without: &mut Vec<u64>) {
    let mut machine = machine_with(Config::default(), text);
    let run_id = RunId::new_v7(seed, (seed % 64) as u16, seed);
    let mut commands = vec![(2, start("dag", run_id, b"{\"x\":1}".to_vec(), None))];
    let mut ready: Vec<(u64, Command)> = Vec::new();
    let (mut now, mut number, mut finished, mut ended) = (1, 0, 0, false);
    while !ended {
        now += 1_000;
        let patches = commands.iter().any(|(_, command)| matches!(command, Command::ApplyPatch(_)));
        let at = cpu_ns();
        let turn = machine.step(now, std::mem::take(&mut commands));
        let released = machine.advance(turn.position);
        let took = cpu_ns() - at;
        if patches {
            with_patch.push(took)
        } else {
            without.push(took)
        }
        for reply in &released.replies {
            assert!(reply.outcome.is_ok(), "{:?}", reply.outcome);
        }
        ended = !released.ended.is_empty();
        for job in &released.jobs {
            let result = JobResult { job: job.id, attempt: job.attempt, outcome: Outcome::Ok(b"{\"y\":1}".to_vec()) };
            ready.push((0, Command::JobResult(result)));
        }
        if number < PATCHES && !patches && finished > 0 {
            commands.push((
                3,
                Command::ApplyPatch(Box::new(ApplyPatch {
                    tenant: "t".into(),
                    run_id,
                    operations: patch(number, nodes),
                    reason: "so".into(),
                    author: "me".into(),
                    base_epoch: None,
                    exact: false,
                    idempotency_key: String::new(),
                    rules: Arc::new(PatchRules::open()),
                })),
            ));
            number += 1;
        } else {
            let most = ready.len().min(RESULTS_BETWEEN);
            commands.extend(ready.drain(..most));
            finished += most;
            if commands.is_empty() && !turn.more {
                assert!(ended, "the run waits for nothing");
            }
        }
    }
    assert_eq!(number, PATCHES);
}
