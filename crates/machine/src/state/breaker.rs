//! Breakers: what is known of the tools and hosts of a tenant that have one. A tool that is well takes no room.

use super::codec::codec;
use super::symbols::{IdMap, Sym};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long it is known when a breaker changed, in nanoseconds: a day, longer than a request is in flight.
const REMEMBERED_NS: i64 = 86_400 * 1_000_000_000;

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// A few requests, to see whether the tool is well again.
    HalfOpen,
}

/// One breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    pub(crate) gate: Gate,
    /// Position of its last change; outcomes of requests from before it do not count. 0: none.
    pub(crate) generation: u64,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Half-open: requests let through, and those of them that ended well.
    pub(crate) passed: u32,
    pub(crate) succeeded: u32,
    /// When more is let through; 0: it is closed.
    pub(crate) due: i64,
    /// Time of its last change.
    pub(crate) changed_ns: i64,
    /// Outputs by the hash of their input, oldest first.
    pub(crate) outputs: VecDeque<([u8; 32], Arc<[u8]>)>,
}

codec!(Gate as Closed = 0, Open = 1, HalfOpen = 2);
codec!(Breaker { gate, generation, failures, passed, succeeded, due, changed_ns, outputs });

/// All breakers.
#[derive(Debug, Default)]
pub(crate) struct Breakers {
    pub(crate) by_tenant: IdMap<Sym, BTreeMap<Box<str>, Breaker>>,
    pub(crate) count: usize,
}

impl Gate {
    /// As in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Gate::Closed => "closed",
            Gate::Open => "open",
            Gate::HalfOpen => "half_open",
        }
    }

    /// Reads it.
    pub(crate) fn parse(text: &str) -> Option<Gate> {
        [Gate::Closed, Gate::Open, Gate::HalfOpen].into_iter().find(|gate| gate.as_str() == text)
    }
}

impl Breaker {
    fn new() -> Breaker {
        Breaker {
            gate: Gate::Closed,
            generation: 0,
            failures: 0,
            passed: 0,
            succeeded: 0,
            due: 0,
            changed_ns: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Nothing is to be remembered of it but when it changed.
    pub(crate) fn is_idle(&self) -> bool {
        self.gate == Gate::Closed && self.failures == 0 && self.outputs.is_empty()
    }

    /// Nothing is to be remembered of it. One that changed lately is: a request from before may still be in flight.
    fn is_forgotten(&self, now: i64) -> bool {
        self.is_idle() && (self.generation == 0 || self.changed_ns.saturating_add(REMEMBERED_NS) < now)
    }
}

impl Breakers {
    pub(crate) fn get(&self, tenant: Sym, name: &str) -> Option<&Breaker> {
        self.by_tenant.get(&tenant)?.get(name)
    }

    fn of(&mut self, tenant: Sym, name: &str) -> &mut Breaker {
        let breakers = self.by_tenant.entry(tenant).or_default();
        if !breakers.contains_key(name) {
            self.count += 1;
        }
        breakers.entry(name.into()).or_insert_with(Breaker::new)
    }

    fn forget_idle(&mut self, tenant: Sym, name: &str) {
        let Some(breakers) = self.by_tenant.get_mut(&tenant) else { return };
        if breakers.get(name).is_some_and(|breaker| breaker.is_idle() && breaker.generation == 0) {
            breakers.remove(name);
            self.count -= 1;
        }
        if breakers.is_empty() {
            self.by_tenant.remove(&tenant);
        }
    }

    /// Forgets those of a tenant.
    pub(crate) fn forget(&mut self, tenant: Sym) {
        self.count -= self.by_tenant.remove(&tenant).map_or(0, |breakers| breakers.len());
    }

    /// It changes, by the record at `position`.
    pub(crate) fn change(&mut self, tenant: Sym, name: &str, gate: Gate, due: i64, position: u64, now: i64) {
        let breaker = self.of(tenant, name);
        breaker.gate = gate;
        breaker.generation = position;
        (breaker.failures, breaker.passed, breaker.succeeded) = (0, 0, 0);
        breaker.due = due;
        breaker.changed_ns = now;
        if let Some(breakers) = self.by_tenant.get_mut(&tenant) {
            let before = breakers.len();
            breakers.retain(|_, breaker| !breaker.is_forgotten(now));
            self.count -= before - breakers.len();
        }
    }

    /// A request goes through it; gives its generation.
    pub(crate) fn pass(&mut self, tenant: Sym, name: &str) -> u64 {
        let Some(breaker) = self.by_tenant.get_mut(&tenant).and_then(|breakers| breakers.get_mut(name)) else {
            return 0;
        };
        if breaker.gate == Gate::HalfOpen {
            breaker.passed += 1;
        }
        breaker.generation
    }

    /// A request of this generation ended.
    pub(crate) fn count(&mut self, tenant: Sym, name: &str, generation: u64, is_well: bool) {
        if self.get(tenant, name).map_or(0, |breaker| breaker.generation) != generation {
            return;
        }
        if is_well {
            let Some(breaker) = self.by_tenant.get_mut(&tenant).and_then(|breakers| breakers.get_mut(name)) else {
                return;
            };
            breaker.failures = 0;
            if breaker.gate == Gate::HalfOpen {
                breaker.succeeded += 1;
            }
            self.forget_idle(tenant, name);
        } else {
            let breaker = self.of(tenant, name);
            breaker.failures = breaker.failures.saturating_add(1);
        }
    }

    /// Keeps an output for its fallback; the oldest of more than `most` leave.
    pub(crate) fn keep(&mut self, tenant: Sym, name: &str, input: &[u8], output: &[u8], most: usize) {
        let hash = input_hash(input);
        let outputs = &mut self.of(tenant, name).outputs;
        outputs.retain(|(kept, _)| *kept != hash);
        outputs.push_back((hash, output.into()));
        while outputs.len() > most {
            outputs.pop_front();
        }
    }

    /// What it gave last for this input.
    pub(crate) fn kept(&self, tenant: Sym, name: &str, input: &[u8]) -> Option<Arc<[u8]>> {
        let hash = input_hash(input);
        let outputs = &self.get(tenant, name)?.outputs;
        outputs.iter().find(|(kept, _)| *kept == hash).map(|(_, output)| output.clone())
    }
}

fn input_hash(input: &[u8]) -> [u8; 32] {
    Sha256::digest(input).into()
}
