//! What is known of the registered functions when a definition is compiled.

use crate::ir::{Effect, RateLimit, Retry};
use std::collections::BTreeMap;

/// The registered functions by name. Defaults that a node does not state are filled in from here *before* the
/// definition is made canonical, so that a registered definition never depends on code that changed since.
pub type FunctionTable = BTreeMap<String, FunctionSpec>;

/// The defaults of one function.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FunctionSpec {
    /// What it does to the world.
    pub effect: Option<Effect>,
    /// Its retry policy.
    pub retry: Option<Retry>,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: Option<f64>,
    /// Time limit of all attempts, in seconds.
    pub schedule_to_close_s: Option<f64>,
    /// Longest time without a heartbeat, in seconds.
    pub heartbeat_timeout_s: Option<f64>,
    /// Its breaker.
    pub breaker: Option<BreakerSpec>,
    /// How often it may be called.
    pub rate_limit: Option<RateLimit>,
    /// The function that undoes it, called with `{"input": …, "output": …}`.
    pub compensation: Option<String>,
}

/// The breaker of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSpec {
    /// So many failures in a row open it.
    pub failure_threshold: u32,
    /// How long it stays open, in seconds.
    pub timeout_s: f64,
    /// Requests let through to see whether it is well again.
    pub probes: u32,
    /// What a node gives meanwhile.
    pub fallback: Option<FallbackSpec>,
}

/// What a node gives while the breaker of its function is open.
#[derive(Debug, Clone, PartialEq)]
pub enum FallbackSpec {
    /// JSON of a value, with expressions as in a definition.
    Value(Vec<u8>),
    /// What the function gave last for the same input.
    Cached,
}
