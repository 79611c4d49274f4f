//! CPU time to compile definitions of 10, 1,000 and 100,000 nodes, against serde_json reading the same bytes into a
//! tree; and to patch them: to resolve a patch that adds a node, to materialize 100 of those, and to compare both.
//! CPU time of the thread (Linux, `/proc/thread-self/schedstat`), as it is what travels from a busy machine.
//!
//! `cargo run --release -p apex-ir --example compile [nodes [rounds]]`
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use apex_ir::equivalence::check_equivalence;
use apex_ir::overlay::{Operation, PatchLimits, materialize, resolve};
use apex_ir::{Limits, compile};
use std::fmt::Write;

/// Layers of ten; each node reads one node of the layer before, every edge has a guard.
fn layers(count: usize) -> String {
    let mut nodes = String::new();
    let mut edges = String::new();
    for i in 0..count {
        let input = if i < 10 { "${inputs.seed}".to_owned() } else { format!("${{nodes.n{}.output.value}}", i - 10) };
        let comma = if i == 0 { "" } else { "," };
        write!(
            nodes,
            r#"{comma}{{"id":"n{i}","type":"function","config":{{"name":"work"}},"input":{{"x":"{input}","k":{i}}}}}"#
        )
        .unwrap();
        if i >= 10 {
            let comma = if i == 10 { "" } else { "," };
            let from = i - 10;
            let to = format!(r#""to":"n{i}","when":"nodes.n{from}.output.ok && nodes.n{from}.output.value < 10""#);
            write!(edges, r#"{comma}{{"from":"n{from}",{to}}}"#).unwrap();
            if i % 10 != 9 {
                write!(edges, r#",{{"from":"n{}","to":"n{i}"}}"#, from + 1).unwrap();
            }
        }
    }
    format!(r#"{{"name":"layers","version":"1","nodes":[{nodes}],"edges":[{edges}]}}"#)
}

/// CPU time of this thread.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Adds a node behind the first one.
fn patch(i: usize) -> Vec<u8> {
    let node = format!(r#"{{"id":"p{i}","type":"function","config":{{"name":"work"}}}}"#);
    let edge = format!(r#"{{"from":"n0","to":"p{i}"}}"#);
    let add = |path: &str, value: &str| format!(r#"{{"op":"add","path":"{path}","value":{value}}}"#);
    format!("[{},{}]", add("/nodes/-", &node), add("/edges/-", &edge)).into_bytes()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let limits = Limits { bytes_max: 1 << 30, ..Limits::default() };
    println!(
        "{:>8} {:>10} {:>8} {:>12} {:>14} {:>6} {:>11} {:>15} {:>11}",
        "nodes", "bytes", "edges", "compile ms", "serde_json ms", "ratio", "resolve ms", "materialize ms", "compare ms"
    );
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let sizes = match arguments.next() {
        Some(count) => vec![(count, arguments.next().unwrap_or(5))],
        None => vec![(10, 2_001), (1_000, 101), (100_000, 7)],
    };
    for (count, rounds) in sizes {
        let text = layers(count);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut resolving, mut materializing, mut comparing) = (Vec::new(), Vec::new(), Vec::new());
        let base = compile(text.as_bytes(), None, &limits).unwrap();
        let patches: Vec<Vec<Operation>> = (0..100)
            .map(|i| resolve(&base, &patch(i), None, &PatchLimits::default(), &limits).unwrap().operations)
            .collect();
        let patches: Vec<&[Operation]> = patches.iter().map(Vec::as_slice).collect();
        let mut edges = 0;
        for round in 0..rounds {
            let start = cpu_ns();
            let ir = compile(text.as_bytes(), None, &limits).unwrap();
            ours.push((cpu_ns() - start) / 1e6);
            edges = ir.edges.len();
            let start = cpu_ns();
            let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
            theirs.push((cpu_ns() - start) / 1e6);
            let start = cpu_ns();
            let patched = resolve(&base, &patch(round), None, &PatchLimits::default(), &limits).unwrap();
            resolving.push((cpu_ns() - start) / 1e6);
            let start = cpu_ns();
            let all = materialize(&base, &patches, &limits).unwrap();
            materializing.push((cpu_ns() - start) / 1e6);
            let start = cpu_ns();
            let compared = check_equivalence(&ir, &patched.ir).is_ok();
            comparing.push((cpu_ns() - start) / 1e6);
            std::hint::black_box((ir, tree, patched, all, compared));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let (ratio, resolving, materializing) = (ours / theirs, median(resolving), median(materializing));
        let comparing = median(comparing);
        println!(
            "{count:>8} {:>10} {edges:>8} {ours:>12.3} {theirs:>14.3} {ratio:>6.2} {resolving:>11.3} {materializing:>15.3} {comparing:>11.3}",
            text.len()
        );
    }
}
