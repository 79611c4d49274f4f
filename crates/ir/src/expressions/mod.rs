//! Expressions (CEL) and templates (JSON with `${…}`): compiled once, evaluated against a [`Scope`].
//!
//! Knows values and limits, nothing of nodes or graphs. In goes text, out comes an [`Expression`] or a [`Refusal`];
//! in goes a scope, out comes a value, the same at the same cost everywhere. Length, brackets, terms and nested
//! comprehensions are refused in the lexer, before parsing costs anything.

pub(crate) mod ast;
mod cost;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod template;
pub mod time;

pub use template::Template;

pub(crate) use ast::{Reference, Root};
pub(crate) use evaluate::number_order;
pub(crate) use functions::pattern;
pub(crate) use template::{Compiler as TemplateCompiler, percent_encode};

use crate::limits::ExpressionLimits;
use crate::value::Value;
use ast::Ast;
use evaluate::{Evaluator, Fault};
use std::borrow::Cow;

/// A node named in an expression: by its id, so that an expression says the same wherever the node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// Its id.
    pub id: Box<str>,
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
    /// The payload of the signal that is looked at.
    fn signal(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
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

impl Default for Budget {
    fn default() -> Self {
        Self::new(ExpressionLimits::default().cost_max)
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

impl ExprError {
    fn new(fault: Fault, text: &str, budget: &Budget) -> Self {
        let shown: Cow<'_, str> = if text.len() > 200 {
            let end = (0..=200).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            format!("{}…", &text[..end]).into()
        } else {
            text.into()
        };
        match fault {
            Fault::Cost => Self {
                message: format!("`{shown}` costs more than {} units", budget.max),
                cost_exceeded_at: Some(budget.used),
            },
            Fault::Failed(message) => Self { message: format!("`{shown}`: {message}"), cost_exceeded_at: None },
        }
    }
}

/// Why a text is no expression, or none that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `BAD_EXPRESSION`, `UNKNOWN_REFERENCE`, `EXPRESSION_TOO_LONG`, `EXPRESSION_TOO_DEEP` or
    /// `EXPRESSION_TOO_COSTLY`.
    pub code: &'static str,
    /// Byte of the text at which it was seen.
    pub offset: usize,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Refusal {
    pub(crate) fn syntax(offset: usize, message: String) -> Self {
        Self { code: "BAD_EXPRESSION", offset, message, hint: None }
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    ast: Ast,
    references: Box<[Reference]>,
}

impl Expression {
    /// Compiles a text. Nodes are not looked up: whoever compiles the definition does that.
    ///
    /// # Errors
    /// The first fault.
    pub fn compile(text: &str, limits: &ExpressionLimits) -> Result<Self, Refusal> {
        let tokens = lexer::tokens(text, limits)?;
        let (ast, references) = parser::parse(&tokens, limits)?;
        let cost = cost::estimate(&ast);
        if cost > limits.cost_max {
            return Err(Refusal {
                code: "EXPRESSION_TOO_COSTLY",
                offset: 0,
                message: format!("the expression is estimated at {cost} units, the limit is {}", limits.cost_max),
                hint: Some("compute it in a function".to_owned()),
            });
        }
        Ok(Self { text: text.into(), ast, references })
    }

    /// The ids of the nodes that it reads.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.references.iter().filter_map(|reference| reference.root.node()).map(|node| &*node.id)
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates.
    ///
    /// # Errors
    /// A missing member, a type without the operation, an overflow, or the budget.
    pub fn evaluate(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, ExprError> {
        let result = Evaluator::new(scope, budget, &self.references).evaluate(&self.ast);
        result.map_err(|fault| ExprError::new(fault, &self.text, budget))
    }

    /// Evaluates a guard: null is false, anything but a truth value is an error.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn is_true(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<bool, ExprError> {
        match self.evaluate(scope, budget)? {
            Value::Bool(value) => Ok(value),
            Value::Null => Ok(false),
            other => {
                let message = format!("a condition must be true or false, this is {}", other.type_name());
                Err(ExprError::new(evaluate::fault(message), &self.text, budget))
            }
        }
    }

    /// The value, where it is written down as it is.
    pub(crate) fn literal(&self) -> Option<&Value> {
        match &self.ast {
            Ast::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The reference, where it is nothing else.
    fn single(&self) -> Option<&Reference> {
        match self.ast {
            Ast::Reference(at) => Some(&self.references[at as usize]),
            _ => None,
        }
    }

    /// What it reads.
    pub(crate) fn references(&self) -> &[Reference] {
        &self.references
    }

    /// A text that two expressions share exactly where they compute the same of what `name` calls by the same name.
    pub(crate) fn key(&self, name: &mut dyn FnMut(&Reference) -> String) -> String {
        let references: Vec<String> = self.references.iter().map(name).collect();
        format!("{:?}{references:?}", self.ast)
    }
}
