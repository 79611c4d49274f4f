//! A bad day on a seed: machine and log on a faulty disk, a fake clock, a crash at any byte.
//!
//! Holds: definitions, clients, executors and faults drawn from a seed; an oracle of its own that follows every durable
//! event; what was covered; shrinking. May know the machine and the log by their public calls, no more. Never shipped.
//! In: a [`Plan`]. Out: nothing, or the first thing that is [`Wrong`] and the command that repeats it.

mod chance;
pub mod coverage;
mod definition;
mod disk;
mod edits;
mod history;
mod house;
mod oracle;
mod plan;
mod shrink;
pub mod transitions;
mod wrong;

pub use coverage::Coverage;
pub use plan::{PARTS, Plan, STEPS};
pub use shrink::shrink;
pub use wrong::Wrong;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    /// What a panic in the history of this thread said; `None` outside of one.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs one history. What it met is added to `coverage`.
///
/// # Errors
/// The first thing that is not as it must be; a panic of the machine is one too.
pub fn live(plan: &Plan, coverage: &mut Coverage) -> Result<(), Wrong> {
    listen();
    PANIC.set(Some(String::new()));
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut met = Coverage::default();
        history::run(plan, &mut met).map(|()| met)
    }));
    let said = PANIC.take().unwrap_or_default();
    match caught {
        Ok(Ok(met)) => {
            coverage.add(met);
            Ok(())
        }
        Ok(Err(wrong)) => Err(wrong),
        Err(_) => Err(Wrong(said)),
    }
}

/// A panic within a history is something that it found, not something to print: it will happen again while shrinking.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = PANIC.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()).is_some());
            if !is_ours {
                before(info);
            }
        }));
    });
}

/// Runs the histories of many seeds, on `threads` threads. Stops at the first that fails.
///
/// # Errors
/// The history that failed, and how.
pub fn live_all(seeds: std::ops::Range<u64>, threads: usize) -> Result<Coverage, (Plan, Wrong)> {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let work = || {
        let mut coverage = Coverage::default();
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let plan = Plan::of(seed);
            if let Err(wrong) = live(&plan, &mut coverage) {
                is_over.store(true, Ordering::Relaxed);
                return Err((plan, wrong));
            }
        }
        Ok(coverage)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = Coverage::default();
        for worker in workers {
            match worker.join() {
                Ok(coverage) => all.add(coverage?),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}
