//! The shape of a parsed expression. Chains of one operator are flat, so its depth is the depth that was checked.

use super::NodeRef;
use crate::value::Value;

/// A parsed expression.
#[derive(Debug)]
pub(crate) enum Ast {
    /// A constant.
    Literal(Value),
    /// An entry of [`super::Expression::references`].
    Reference(u32),
    /// The variable of an enclosing comprehension, counted from the outermost.
    Local(u32),
    /// `[a, b]`
    List(Box<[Ast]>),
    /// `{k: v}`
    Map(Box<[(Ast, Ast)]>),
    /// `a.name`
    Select(Box<Ast>, Box<str>),
    /// `a[b]`
    Index(Box<(Ast, Ast)>),
    /// `has(a.name)`; the operand is a reference, a selection or an index.
    Has(Box<Ast>),
    /// `!a`
    Not(Box<Ast>),
    /// `-a`
    Negate(Box<Ast>),
    /// `a && b && c`
    And(Box<[Ast]>),
    /// `a || b || c`
    Or(Box<[Ast]>),
    /// `a < b`
    Compare(Comparison, Box<(Ast, Ast)>),
    /// `a + b - c`
    Arithmetic(Box<Ast>, Box<[(Operator, Ast)]>),
    /// `a ? b : c`
    Conditional(Box<(Ast, Ast, Ast)>),
    /// `f(a, b)` or `a.f(b)`
    Call(Function, Box<[Ast]>),
    /// `a.matches("…")` with a constant pattern, compiled.
    Matches(Box<Ast>, Box<regex::Regex>),
    /// `a.all(x, …)`
    Comprehension(Box<Comprehension>),
}

/// A macro over a list or the keys of a map.
#[derive(Debug)]
pub(crate) struct Comprehension {
    /// Which.
    pub(crate) kind: Macro,
    /// Over what.
    pub(crate) range: Ast,
    /// `map` with three arguments: only where this is true.
    pub(crate) filter: Option<Ast>,
    /// What is computed for each.
    pub(crate) body: Ast,
}

/// Which macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// The functions, with what they are called on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Int,
    Double,
    String,
    Bool,
    Dyn,
    Type,
    Timestamp,
    Duration,
    Min,
    Max,
    LowerAscii,
    UpperAscii,
    Split,
    Join,
}

/// How a function is written.
pub(crate) struct Signature {
    /// Its name.
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    /// `f(a)` is allowed, with this many arguments (least, most).
    pub(crate) global: Option<(usize, usize)>,
    /// `a.f(b)` is allowed, with this many arguments beside `a`.
    pub(crate) method: Option<(usize, usize)>,
}

const fn signature(
    name: &'static str,
    function: Function,
    global: Option<(usize, usize)>,
    method: Option<(usize, usize)>,
) -> Signature {
    Signature { name, function, global, method }
}

/// All functions.
pub(crate) const FUNCTIONS: [Signature; 19] = [
    signature("size", Function::Size, Some((1, 1)), Some((0, 0))),
    signature("contains", Function::Contains, None, Some((1, 1))),
    signature("startsWith", Function::StartsWith, None, Some((1, 1))),
    signature("endsWith", Function::EndsWith, None, Some((1, 1))),
    signature("matches", Function::Matches, Some((2, 2)), Some((1, 1))),
    signature("int", Function::Int, Some((1, 1)), None),
    signature("double", Function::Double, Some((1, 1)), None),
    signature("string", Function::String, Some((1, 1)), None),
    signature("bool", Function::Bool, Some((1, 1)), None),
    signature("dyn", Function::Dyn, Some((1, 1)), None),
    signature("type", Function::Type, Some((1, 1)), None),
    signature("timestamp", Function::Timestamp, Some((1, 1)), None),
    signature("duration", Function::Duration, Some((1, 1)), None),
    signature("min", Function::Min, Some((1, 64)), None),
    signature("max", Function::Max, Some((1, 64)), None),
    signature("lowerAscii", Function::LowerAscii, None, Some((0, 0))),
    signature("upperAscii", Function::UpperAscii, None, Some((0, 0))),
    signature("split", Function::Split, None, Some((1, 2))),
    signature("join", Function::Join, None, Some((0, 1))),
];

/// What an expression reads of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where it begins.
    pub(crate) root: Root,
    /// Member names below it.
    pub(crate) path: Box<[Box<str>]>,
    /// Where it stands in the text.
    pub(crate) offset: u32,
}

/// Where a reference begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    Inputs,
    Output(NodeRef),
    Status(NodeRef),
    Error(NodeRef),
    Item,
    Index,
    Iteration,
    Last,
    /// The payload of a signal, in the `match` of a node that waits for one.
    Signal,
    RunId,
    RunStartedAt,
}

impl Root {
    /// The word for what is read.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Root::Inputs => "inputs",
            Root::Output(_) => "output",
            Root::Status(_) => "status",
            Root::Error(_) => "error",
            Root::Item => "item",
            Root::Index => "index",
            Root::Iteration => "iteration",
            Root::Last => "last",
            Root::Signal => "signal",
            Root::RunId => "run_id",
            Root::RunStartedAt => "run_started_at",
        }
    }

    /// The node read.
    pub(crate) fn node(&self) -> Option<&NodeRef> {
        match self {
            Root::Output(node) | Root::Status(node) | Root::Error(node) => Some(node),
            _ => None,
        }
    }
}
