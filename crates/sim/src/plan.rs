//! What a history is made from, in words that a command line can repeat.

use std::collections::BTreeSet;
use std::fmt;

/// A history: its seed, and what is left out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// Steps before all is brought to an end.
    pub steps: u64,
    /// What is left out: a step (`step:12`), a node (`w0.n3`), or one of [`PARTS`].
    pub without: BTreeSet<String>,
}

/// Parts of every history that may be left out: the odd bounds, snapshots, lost leases, deaths of the process, failed
/// writes, a disk that is full or slow, patches, other versions for runs.
pub const PARTS: &[&str] = &["limits", "snapshot", "lease", "crash", "write", "disk", "patch", "migration"];

/// Steps of a history, as drawn.
pub const STEPS: u64 = 90;

impl Plan {
    /// The whole history of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Plan {
        Plan { seed, steps: STEPS, without: BTreeSet::new() }
    }

    /// The same with these steps only.
    #[must_use]
    pub fn only(mut self, steps: &[u64]) -> Plan {
        let others = (0..self.steps).filter(|step| !steps.contains(step));
        self.without.extend(others.map(|step| format!("step:{step}")));
        self
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        !self.without.contains(what)
    }

    pub(crate) fn has_step(&self, step: u64) -> bool {
        !self.without.contains(&format!("step:{step}"))
    }
}

impl fmt::Display for Plan {
    /// The command that repeats it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cargo run -p apex-sim -- --seed {}", self.seed)?;
        if self.steps != STEPS {
            write!(f, " --steps {}", self.steps)?;
        }
        let kept: Vec<String> = (0..self.steps).filter(|step| self.has_step(*step)).map(|n| n.to_string()).collect();
        if (kept.len() as u64) < self.steps {
            write!(f, " --only {}", kept.join(","))?;
        }
        let without: Vec<&str> =
            self.without.iter().map(String::as_str).filter(|part| !part.starts_with("step:")).collect();
        if !without.is_empty() {
            write!(f, " --without {}", without.join(","))?;
        }
        Ok(())
    }
}
