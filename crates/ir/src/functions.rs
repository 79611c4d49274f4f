//! What is known of the registered functions when a definition is compiled.

use crate::ir::{Effect, Retry};
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
    /// The function that undoes it, called with `{"input": …, "output": …}`.
    pub compensation: Option<String>,
}
