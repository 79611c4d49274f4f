//! All passes in one place, as they are compiled for this machine: for tests that ask them for patches of thousands of
//! definitions, and for the benchmark. Nothing of it is shipped.

use apex_pass::{Input, Patch};

/// A pass.
pub type Pass = fn(&Input) -> Option<Patch>;

/// The passes by name.
pub const PASSES: [(&str, Pass); 7] = [
    ("common-subexpression", common_subexpression::pass),
    ("dead-path", dead_path::pass),
    ("http-coalescing", http_coalescing::pass),
    ("loop-invariant", loop_invariant::pass),
    ("parallelize", parallelize::pass),
    ("predicate-pushdown", predicate_pushdown::pass),
    ("semantic-cache", semantic_cache::pass),
];
