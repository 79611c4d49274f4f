//! What a run that waits costs the machine: bytes a run, time to start, to capture and write a snapshot, to read it, and
//! to fire timers that all fall due at one instant. Times are CPU of this thread.
//!
//! `cargo run --release -p apex-machine --example waiting -- 1000000 [awake_max]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod common;

use apex_machine::command::Command;
use apex_machine::{Config, Machine, RunId};
use common::{cpu_ns, machine_with};
use std::time::Duration;

const DEFINITION: &str = r#"{"name":"w","version":"1","nodes":[
    {"id":"wait","type":"timer","config":{"until":"2030-01-01T00:00:00Z"}},
    {"id":"gate","type":"approval","config":{"prompt":"Go on with ${inputs.order}?"}}],
    "edges":[{"from":"wait","to":"gate"}]}"#;
const UNTIL_NS: i64 = 1_893_456_000_000_000_000;
const BATCH: u64 = 2_000;

/// Resident memory of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn cpu() -> Duration {
    Duration::from_nanos(cpu_ns())
}

fn timed<T>(what: &str, count: u64, work: impl FnOnce() -> T) -> T {
    let begin = cpu();
    let made = work();
    let took = cpu() - begin;
    println!("{what:44} {:8.3} s  {:6.0} ns a run", took.as_secs_f64(), took.as_nanos() as f64 / count as f64);
    made
}

fn start(n: u64) -> (u64, Command) {
    let run_id = RunId::new_v7(1_700_000_000_000 + n, (n % 64) as u16, n);
    (0, common::start("w", run_id, format!("{{\"order\":\"o-{n}\"}}").into_bytes(), None))
}

/// Steps until nothing is left; the longest of them.
fn settle(machine: &mut Machine, now: i64, mut commands: Vec<(u64, Command)>) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let begin = cpu();
        let turn = machine.step(now, std::mem::take(&mut commands));
        longest = longest.max(cpu() - begin);
        machine.advance(turn.position);
        if !turn.more {
            return longest;
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let count: u64 = args.next().unwrap_or(1_000_000);
    let mut config = Config::default();
    if let Some(awake) = args.next() {
        config.limits.runs_awake_max = awake as usize;
    }
    let mut machine = machine_with(config.clone(), DEFINITION);
    let before = resident();
    let longest = timed("start", count, || {
        (0..count.div_ceil(BATCH))
            .map(|batch| {
                settle(&mut machine, 2, (batch * BATCH..((batch + 1) * BATCH).min(count)).map(start).collect())
            })
            .max()
    });
    println!("{:44} {:?}", "the longest turn", longest.unwrap());
    let counts = machine.counts();
    println!("{:44} {} of {}", "at rest", counts.runs_resting, counts.runs_open);
    println!("{:44} {:8.0} bytes a run", "memory", (resident() - before) as f64 / count as f64);
    let capture = timed("capture (the loop waits for it)", count, || machine.capture());
    let bytes = timed("bytes of the snapshot (another thread)", count, || capture.bytes());
    println!("{:44} {:8.0} bytes a run", "snapshot", bytes.len() as f64 / count as f64);
    timed("the same bytes, copied", count, || bytes.clone());
    let mut read = timed("restore", count, || Machine::restore(config, &bytes).unwrap());
    timed("recovered", count, || read.recovered());
    let longest = timed("every run looked at once", count, || settle(&mut read, 3, Vec::new()));
    println!("{:44} {longest:?}", "the longest turn");
    drop(read);
    timed("a page of 100 from a list", 1, || machine.runs("t", &Default::default(), 100, ""));
    let longest = timed("fire, all at one instant", count, || settle(&mut machine, UNTIL_NS, vec![(0, Command::Tick)]));
    println!("{:44} {longest:?}", "the longest turn");
    assert_eq!(machine.counts().approvals, count);
}
