//! The first 3,000 histories: no violation, everything met, and the page of transitions is what they give.
//! `APEX_HISTORIES=n` runs another number of them, without the page.

#![allow(clippy::unwrap_used, missing_docs)]

use apex_sim::{Plan, live_all, shrink, transitions};
use std::collections::BTreeSet;

const HISTORIES: u64 = 3_000;
const PAGE: &str = include_str!("../../../docs/reference/transitions.md");

#[test]
fn no_history_finds_a_violation() {
    let asked: Option<u64> = std::env::var("APEX_HISTORIES").ok().and_then(|number| number.parse().ok());
    let threads = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let coverage = match live_all(0..asked.unwrap_or(HISTORIES), threads) {
        Ok(coverage) => coverage,
        Err((plan, wrong)) => {
            let (small, smaller) = shrink(&plan, wrong.clone());
            panic!("{wrong}\n\nrepeat it: {plan}\n\nmade smaller: {smaller}\n\nrepeat it: {small}");
        }
    };
    if asked.is_some() {
        return;
    }
    let missing = coverage.missing(&BTreeSet::new());
    assert!(missing.is_empty(), "never met: {}", missing.join(", "));
    let page = transitions::page(&coverage);
    assert!(page == PAGE, "docs/reference/transitions.md is not what the histories give: run `make transitions`");
}

#[test]
fn a_seed_gives_the_same_history_every_time() {
    for seed in [3, 17] {
        let met = || live_all(seed..seed + 1, 1).unwrap().json();
        assert_eq!(met(), met());
    }
}

#[test]
fn a_plan_says_how_it_is_repeated() {
    let plan = Plan { seed: 7, steps: 9, without: ["crash".to_owned()].into() }.only(&[2, 4]);
    assert_eq!(plan.to_string(), "cargo run -p apex-sim -- --seed 7 --steps 9 --only 2,4 --without crash");
}
