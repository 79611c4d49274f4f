//! Random definitions and every pass: whatever the checker proves of what a pass proposes, and of small changes to it,
//! keeps the meaning as an interpreter sees it that was written apart; and most of what a pass proposes is proved.
#![allow(clippy::unwrap_used)]

#[path = "../../../crates/ir/tests/support/difference.rs"]
mod difference;
#[path = "../../../crates/ir/tests/support/interpreter.rs"]
mod interpreter;
#[path = "../../../crates/ir/tests/support/passes.rs"]
#[allow(dead_code)]
mod passes;
#[path = "../../../crates/ir/tests/support/random.rs"]
#[allow(dead_code)]
mod random;

use apex_ir::equivalence::check_equivalence;
use apex_ir::{Ir, Limits, compile};
use apex_pass::cases::{apply, question};
use difference::difference;
use proof::PASSES;
use random::Random;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Pairs of a definition and a pass that finds something in it; more with `APEX_EQUIVALENCE_PAIRS`, from seed
/// `APEX_EQUIVALENCE_SEED` on.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn compiled(definition: &Json) -> Option<Ir> {
    compile(definition.to_string().as_bytes(), None, &Limits::default()).ok()
}

fn definition(ir: &Ir) -> Json {
    serde_json::from_slice(&ir.canonical).unwrap()
}

/// The first world in which a run of the patched definition does something else.
fn differs(before: &Json, after: &Json, seed: u64, worlds: u64) -> Option<String> {
    (0..worlds).find_map(|world| difference(before, after, seed + world, [0, 15, 0, 40][world as usize % 4]))
}

#[derive(Default)]
struct Count {
    proved: usize,
    refused: usize,
    differing: usize,
    mutants: usize,
    mutants_differing: usize,
    mutants_proved: usize,
}

#[test]
fn what_passes_propose_keeps_the_meaning_and_wrong_neighbours_of_it_are_refused() {
    let (pairs, mut seed) = (number("APEX_EQUIVALENCE_PAIRS", 10_000), number("APEX_EQUIVALENCE_SEED", 0));
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    let mut made = 0;
    while made < pairs {
        seed += 1;
        let random = &mut Random(seed);
        let Some(ir) = compiled(&passes::definition(random)) else { continue };
        let before = definition(&ir);
        let input = serde_json::from_value(question(&ir, &Json::Null)).unwrap();
        for (name, pass) in PASSES {
            let Some(patch) = pass(&input).filter(|patch| !patch.operations.is_empty()) else { continue };
            made += 1;
            let count = counts.entry(name).or_default();
            let after_ir =
                apply(&ir, &patch).unwrap_or_else(|reason| panic!("seed {seed}: {name}: {reason}\n{before}"));
            let mut after = definition(&after_ir);
            let check = check_equivalence(&ir, &after_ir);
            let found = differs(&before, &after, seed, 4);
            if let (Ok(()), Some(difference)) = (&check, &found) {
                panic!("seed {seed}: a patch of {name} is proved, but {difference}\n{before}\n{after}");
            }
            match check {
                Ok(()) => count.proved += 1,
                Err(_) => count.refused += 1,
            }
            count.differing += usize::from(found.is_some());
            passes::mutate(random, &mut after);
            let Some(mutant) = compiled(&after).filter(|mutant| mutant.hash != after_ir.hash) else { continue };
            count.mutants += 1;
            let check = check_equivalence(&ir, &mutant);
            let found = differs(&before, &after, seed, if check.is_ok() { 10 } else { 2 });
            if let (Ok(()), Some(difference)) = (&check, &found) {
                panic!("seed {seed}: a mutant of {name} is proved, but {difference}\n{before}\n{after}");
            }
            count.mutants_proved += usize::from(check.is_ok());
            count.mutants_differing += usize::from(found.is_some());
        }
    }
    for (name, count) in &counts {
        let Count { proved, refused, differing, mutants, mutants_differing, mutants_proved } = count;
        println!(
            "{name}: proved {proved}, refused {refused} ({differing} do something else); of {mutants} mutants {mutants_differing} do something else \
             (all refused), {mutants_proved} are proved"
        );
        // A pass is not trusted, but it should know what it does.
        assert!(*proved > 4 * refused && *differing <= proved / 100, "{name}: proved {proved}, refused {refused}");
    }
    // `semantic-cache` changes nothing.
    assert_eq!(counts.len(), PASSES.len() - 1, "passes that found something");
}
