//! Runs histories: one seed, or many.

use apex_sim::{Coverage, Plan, STEPS, Wrong, live, live_all, shrink, transitions};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
cargo run -p apex-sim -- --seed N [--steps N] [--only STEP,…] [--without PART,…]
                                                                   one history; one that fails is shrunk
cargo run -p apex-sim -- --histories N [--from SEED] [--json]      many, until all that is to be met was met
cargo run -p apex-sim -- --transitions                             the page of transitions

  --threads N   how many at a time; by default as many as there are CPUs
  --json        what was met, for programs";

/// Histories beyond those asked for, to meet what is rare: so many times as many.
const PATIENCE: u64 = 4;

/// Of the page, and of the test in this crate.
const PAGE_HISTORIES: u64 = 3_000;

#[derive(Debug, Default)]
struct Arguments {
    seed: Option<u64>,
    steps: Option<u64>,
    only: Option<Vec<u64>>,
    without: BTreeSet<String>,
    histories: Option<u64>,
    from: u64,
    threads: Option<usize>,
    json: bool,
    transitions: bool,
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut read = Arguments::default();
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let text = words.next().ok_or_else(|| format!("{word} takes a number"))?;
            text.parse().map_err(|_| format!("{word} takes a number, not {text}"))
        };
        match word.as_str() {
            "--seed" => read.seed = Some(number()?),
            "--steps" => read.steps = Some(number()?),
            "--histories" => read.histories = Some(number()?),
            "--from" => read.from = number()?,
            "--threads" => read.threads = Some(number()? as usize),
            "--without" => {
                let parts = words.next().ok_or("--without takes a list of parts")?;
                read.without = parts.split(',').map(Into::into).collect();
            }
            "--only" => {
                let steps = words.next().ok_or("--only takes a list of steps")?;
                let steps = steps.split(',').map(|step| step.parse().map_err(|_| format!("{step} is no step")));
                read.only = Some(steps.collect::<Result<_, _>>()?);
            }
            "--json" => read.json = true,
            "--transitions" => read.transitions = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(read)
}

fn main() -> ExitCode {
    let arguments = match read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let cpus = || std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let threads = arguments.threads.unwrap_or_else(cpus);
    if arguments.transitions {
        return match live_all(0..PAGE_HISTORIES, threads) {
            Ok(coverage) => {
                print!("{}", transitions::page(&coverage));
                ExitCode::SUCCESS
            }
            Err((plan, wrong)) => fails(&plan, wrong),
        };
    }
    if let Some(seed) = arguments.seed {
        let mut plan = Plan { seed, steps: arguments.steps.unwrap_or(STEPS), without: arguments.without };
        if let Some(steps) = &arguments.only {
            plan = plan.only(steps);
        }
        let mut coverage = Coverage::default();
        return match live(&plan, &mut coverage) {
            Ok(()) => {
                say(&coverage, arguments.json);
                ExitCode::SUCCESS
            }
            Err(wrong) => fails(&plan, wrong),
        };
    }
    let Some(histories) = arguments.histories else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    many(arguments.from, histories, threads, arguments.json)
}

fn many(from: u64, histories: u64, threads: usize, json: bool) -> ExitCode {
    let begun = Instant::now();
    let mut coverage = Coverage::default();
    let mut seed = from;
    loop {
        // What is rare gets more time, in smaller portions.
        let portion = if seed == from { histories } else { histories.div_ceil(4) };
        match live_all(seed..seed + portion, threads) {
            Ok(met) => coverage.add(met),
            Err((plan, wrong)) => return fails(&plan, wrong),
        }
        seed += portion;
        let missing = coverage.missing(&BTreeSet::new());
        if missing.is_empty() {
            break;
        }
        if seed - from >= histories * PATIENCE {
            say(&coverage, json);
            eprintln!("never met in {} histories: {}", coverage.histories, missing.join(", "));
            return ExitCode::FAILURE;
        }
    }
    say(&coverage, json);
    let rate = coverage.histories as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{} histories, {} records, {rate:.0} histories/s: no violation", coverage.histories, coverage.records);
    ExitCode::SUCCESS
}

fn say(coverage: &Coverage, json: bool) {
    if json {
        println!("{:#}", coverage.json());
        return;
    }
    for (what, counts) in [
        ("commands", &coverage.commands),
        ("events", &coverage.events),
        ("refusals", &coverage.refusals),
        ("faults", &coverage.faults),
        ("patches", &coverage.patches),
    ] {
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("{what}: {}", counts.join(", "));
    }
    println!("transitions: {}", coverage.transitions().len());
}

fn fails(plan: &Plan, wrong: Wrong) -> ExitCode {
    eprintln!("{wrong}\n\nrepeat it: {plan}\nmaking it smaller …");
    let (small, wrong) = shrink(plan, wrong);
    eprintln!("{wrong}\n\nrepeat it: {small}");
    ExitCode::FAILURE
}
