//! Expressions (CEL) and templates (JSON with `${…}`): compiled once, evaluated against a [`Scope`].

use crate::ir::NodeIx;
use crate::value::Value;
use std::borrow::Cow;

/// A node named in an expression: by id for events and state, by index for dense tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// Its id.
    pub id: Box<str>,
    /// Its index in [`crate::Ir::nodes`].
    pub ix: NodeIx,
}

/// What a scope knows of a member of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member<'a> {
    /// The node has no output (skipped, failed, or not decided): null at any depth.
    NoOutput,
    /// The node has an output, and this member is not in it: the expression fails, `has()` is false.
    Missing,
    /// The member, as JSON bytes.
    Raw(Cow<'a, [u8]>),
}

/// What an expression may see of a run. All bytes are JSON values that passed [`crate::value::check`].
pub trait Scope {
    /// The run's inputs.
    fn inputs(&self) -> &[u8];
    /// A member of a node's output; an empty path is the whole output. `path` is one of the node's
    /// [`crate::ir::Keeps`] or goes on below one ([`crate::ir::Keeps::locate`]).
    fn output(&self, node: &NodeRef, path: &[Box<str>]) -> Member<'_>;
    /// `ok`, `skipped` or `failed`; `None` (null) while it is not decided.
    fn status(&self, node: &NodeRef) -> Option<&str>;
    /// The error of a failed node, `{"type", "message"}`; `None` is null.
    fn error(&self, node: &NodeRef) -> Option<Cow<'_, [u8]>>;
    /// The item of the innermost map.
    fn item(&self) -> Option<Cow<'_, [u8]>>;
    /// Its place in the list, from 0.
    fn index(&self) -> Option<i64>;
    /// The number of the innermost loop's iteration, from 0.
    fn iteration(&self) -> Option<i64>;
    /// The output of the iteration before.
    fn last(&self) -> Option<Cow<'_, [u8]>>;
    /// The run's id.
    fn run_id(&self) -> &str;
    /// When it started, ns since 1970.
    fn run_started_ns(&self) -> i64;
}

/// Cost units of one evaluation. The units are the same on every machine and count work, not time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Used so far.
    pub used: u64,
    /// May be used.
    pub max: u64,
}

impl Budget {
    /// A fresh budget.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { used: 0, max }
    }
}

/// Why an evaluation failed. A run that meets it fails with `EXPRESSION_FAILED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// One sentence, with the expression's text.
    pub message: String,
    /// The unit at which the budget was exceeded; `None` for any other error.
    pub cost_exceeded_at: Option<u64>,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    #[allow(dead_code)]
    text: Box<str>,
}

impl Expression {
    /// Evaluates.
    ///
    /// # Errors
    /// A missing member, a type without the operation, an overflow, or the budget.
    pub fn evaluate(&self, _scope: &dyn Scope, _budget: &mut Budget) -> Result<Value, ExprError> {
        unimplemented!()
    }

    /// Evaluates a guard: null is false, anything but a truth value is an error.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn is_true(&self, _scope: &dyn Scope, _budget: &mut Budget) -> Result<bool, ExprError> {
        unimplemented!()
    }
}

/// A JSON value with `${…}` inside strings.
#[derive(Debug)]
pub struct Template {
    #[allow(dead_code)]
    text: Box<str>,
}

impl Template {
    /// The bytes, where no expression is inside.
    #[must_use]
    pub fn constant(&self) -> Option<&[u8]> {
        unimplemented!()
    }

    /// Renders to JSON bytes. A template without expressions gives its bytes; one that is a single reference copies
    /// the slice that it names.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn render(&self, _scope: &dyn Scope, _budget: &mut Budget) -> Result<Vec<u8>, ExprError> {
        unimplemented!()
    }

    /// Renders and builds the tree (for `over`, `duration_s`, `until`, keys).
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate(&self, _scope: &dyn Scope, _budget: &mut Budget) -> Result<Value, ExprError> {
        unimplemented!()
    }

    /// Renders a URL: inserted values are percent-encoded (RFC 3986, all but unreserved).
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also where an inserted value is null or makes a dot segment.
    pub fn render_url(&self, _scope: &dyn Scope, _budget: &mut Budget) -> Result<String, ExprError> {
        unimplemented!()
    }
}
