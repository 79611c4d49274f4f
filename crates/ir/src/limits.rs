//! How large a definition may be.

/// Limits of a definition. Over one is a [`crate::Diagnostic`], never a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the definition as sent.
    pub bytes_max: usize,
    /// Nodes in all graphs.
    pub nodes_max: usize,
    /// Edges in all graphs.
    pub edges_max: usize,
    /// Nesting of the JSON document.
    pub depth_max: usize,
    /// Nesting of bodies (a map in a map …).
    pub bodies_max: usize,
    /// Items of one map.
    pub items_max: u32,
    /// Iterations of one loop.
    pub iterations_max: u32,
    /// Diagnostics reported; what is over it is only counted.
    pub diagnostics_max: usize,
    /// Limits of each expression.
    pub expression: ExpressionLimits,
}

/// Limits of one expression, checked before it is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionLimits {
    /// Bytes of text.
    pub bytes_max: usize,
    /// Nesting of brackets, operators and conditionals.
    pub depth_max: usize,
    /// Operands and calls.
    pub terms_max: usize,
    /// Comprehensions within comprehensions.
    pub comprehensions_max: usize,
    /// Cost units that an evaluation may use; an expression whose least cost is over it is refused.
    pub cost_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            nodes_max: 200_000,
            edges_max: 1_000_000,
            depth_max: 64,
            bodies_max: 8,
            items_max: 100_000,
            iterations_max: 100_000,
            diagnostics_max: 1_000,
            expression: ExpressionLimits::default(),
        }
    }
}

impl Default for ExpressionLimits {
    fn default() -> Self {
        Self { bytes_max: 16 << 10, depth_max: 64, terms_max: 4_096, comprehensions_max: 4, cost_max: 100_000 }
    }
}
