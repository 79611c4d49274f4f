//! Tokens to [`Ast`]: CEL's grammar by precedence. Names are resolved here, so that static member paths become
//! references. Recursion follows nesting only, and nesting is limited.

use super::NodeRef;
use super::Refusal;
use super::ast::{Ast, Comparison, Comprehension, FUNCTIONS, Function, Macro, Operator, Reference, Root};
use super::lexer::{MACROS, Token, too_deep};
use crate::diagnostics::nearest;
use crate::limits::ExpressionLimits;
use crate::value::Value;
use std::borrow::Cow;

/// What names an expression begins with.
const ROOTS: [&str; 8] = ["inputs", "nodes", "item", "index", "iteration", "last", "signal", "run"];

/// Names that CEL keeps for itself.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A parsed part and how deep it is.
struct Part {
    ast: Ast,
    depth: usize,
}

pub(crate) struct Parser<'t, 'a> {
    tokens: &'t [(Token<'a>, u32)],
    at: usize,
    limits: &'t ExpressionLimits,
    level: usize,
    locals: Vec<&'a str>,
    references: Vec<Reference>,
}

type Parsed<T> = Result<T, Refusal>;

/// Parses all tokens.
pub(crate) fn parse(tokens: &[(Token<'_>, u32)], limits: &ExpressionLimits) -> Parsed<(Ast, Box<[Reference]>)> {
    let mut parser = Parser { tokens, at: 0, limits, level: 0, locals: Vec::new(), references: Vec::new() };
    let part = parser.conditional()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected("the end of the expression"));
    }
    Ok((part.ast, parser.references.into()))
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> &Token<'a> {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, offset)| *offset as usize)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(have) if *have == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Refusal {
        let found = match self.peek() {
            Token::Name(name) => format!("`{name}`"),
            Token::Int(_) | Token::Double(_) => "a number".to_owned(),
            Token::Text(_) => "a string".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the expression".to_owned(),
        };
        Refusal::syntax(self.offset(), format!("expected {wanted}, found {found}"))
    }

    fn over(&self, ast: Ast, depth_inside: usize) -> Parsed<Part> {
        let depth = depth_inside + 1;
        if depth > self.limits.depth_max {
            return Err(too_deep(self.limits, self.offset()));
        }
        Ok(Part { ast, depth })
    }

    /// Runs a rule that recurses, one level down.
    fn nested(&mut self, rule: fn(&mut Self) -> Parsed<Part>) -> Parsed<Part> {
        self.level += 1;
        if self.level > self.limits.depth_max {
            return Err(too_deep(self.limits, self.offset()));
        }
        let part = rule(self);
        self.level -= 1;
        part
    }

    fn conditional(&mut self) -> Parsed<Part> {
        let test = self.or()?;
        if !self.take("?") {
            return Ok(test);
        }
        let yes = self.nested(Self::or)?;
        self.expect(":")?;
        let no = self.nested(Self::conditional)?;
        let depth = test.depth.max(yes.depth).max(no.depth);
        self.over(Ast::Conditional(Box::new((test.ast, yes.ast, no.ast))), depth)
    }

    fn chain(&mut self, sign: &str, rule: fn(&mut Self) -> Parsed<Part>, make: fn(Box<[Ast]>) -> Ast) -> Parsed<Part> {
        let first = rule(self)?;
        if !matches!(self.peek(), Token::Sign(have) if *have == sign) {
            return Ok(first);
        }
        let mut depth = first.depth;
        let mut parts = vec![first.ast];
        while self.take(sign) {
            let part = rule(self)?;
            depth = depth.max(part.depth);
            parts.push(part.ast);
        }
        self.over(make(parts.into()), depth)
    }

    fn or(&mut self) -> Parsed<Part> {
        self.chain("||", Self::and, Ast::Or)
    }

    fn and(&mut self) -> Parsed<Part> {
        self.chain("&&", Self::relation, Ast::And)
    }

    fn relation(&mut self) -> Parsed<Part> {
        let mut left = self.addition()?;
        loop {
            let comparison = match self.peek() {
                Token::Sign("==") => Comparison::Equal,
                Token::Sign("!=") => Comparison::NotEqual,
                Token::Sign("<") => Comparison::Less,
                Token::Sign("<=") => Comparison::LessOrEqual,
                Token::Sign(">") => Comparison::Greater,
                Token::Sign(">=") => Comparison::GreaterOrEqual,
                Token::Name("in") => Comparison::In,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.addition()?;
            let depth = left.depth.max(right.depth);
            left = self.over(Ast::Compare(comparison, Box::new((left.ast, right.ast))), depth)?;
        }
    }

    fn arithmetic(&mut self, rule: fn(&mut Self) -> Parsed<Part>, operators: &[(&str, Operator)]) -> Parsed<Part> {
        let first = rule(self)?;
        let mut depth = first.depth;
        let mut rest = Vec::new();
        loop {
            let found = match self.peek() {
                Token::Sign(sign) => operators.iter().find(|(have, _)| have == sign).map(|(_, operator)| *operator),
                _ => None,
            };
            let Some(operator) = found else { break };
            self.at += 1;
            let part = rule(self)?;
            depth = depth.max(part.depth);
            rest.push((operator, part.ast));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        self.over(Ast::Arithmetic(Box::new(first.ast), rest.into()), depth)
    }

    fn addition(&mut self) -> Parsed<Part> {
        self.arithmetic(Self::multiplication, &[("+", Operator::Add), ("-", Operator::Subtract)])
    }

    fn multiplication(&mut self) -> Parsed<Part> {
        let operators = [("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)];
        self.arithmetic(Self::unary, &operators)
    }

    fn unary(&mut self) -> Parsed<Part> {
        if self.take("!") {
            let part = self.nested(Self::unary)?;
            return self.over(Ast::Not(Box::new(part.ast)), part.depth);
        }
        if self.take("-") {
            if let Token::Int(magnitude) = *self.peek() {
                // The smallest integer has no positive twin, so its sign belongs to the literal.
                let negative = 0_i64.checked_sub_unsigned(magnitude);
                let value = negative.ok_or_else(|| self.outside())?;
                self.at += 1;
                return self.postfix(Part { ast: Ast::Literal(Value::Int(value)), depth: 1 });
            }
            let part = self.nested(Self::unary)?;
            return self.over(Ast::Negate(Box::new(part.ast)), part.depth);
        }
        self.member()
    }

    fn outside(&self) -> Refusal {
        Refusal::syntax(self.offset(), "the integer is outside int64".to_owned())
    }

    fn member(&mut self) -> Parsed<Part> {
        let start = self.offset();
        let token = self.peek().clone();
        self.at += 1;
        let part = match token {
            Token::Int(magnitude) => {
                let value = i64::try_from(magnitude).map_err(|_| {
                    self.at -= 1;
                    self.outside()
                })?;
                Part { ast: Ast::Literal(Value::Int(value)), depth: 1 }
            }
            Token::Double(value) => Part { ast: Ast::Literal(Value::Double(value)), depth: 1 },
            Token::Text(text) => Part { ast: Ast::Literal(Value::text(&text)), depth: 1 },
            Token::Name("true") => Part { ast: Ast::Literal(Value::Bool(true)), depth: 1 },
            Token::Name("false") => Part { ast: Ast::Literal(Value::Bool(false)), depth: 1 },
            Token::Name("null") => Part { ast: Ast::Literal(Value::Null), depth: 1 },
            Token::Name(name) => self.name(name, start)?,
            Token::Sign("(") => {
                let part = self.nested(Self::conditional)?;
                self.expect(")")?;
                self.over(part.ast, part.depth)?
            }
            Token::Sign("[") => {
                let (parts, depth) = self.list("]")?;
                self.over(Ast::List(parts.into()), depth)?
            }
            Token::Sign("{") => self.map()?,
            _ => {
                self.at -= 1;
                return Err(self.unexpected("a value"));
            }
        };
        self.postfix(part)
    }

    /// Expressions up to the closing sign, which is taken.
    fn list(&mut self, closing: &str) -> Parsed<(Vec<Ast>, usize)> {
        let (mut parts, mut depth) = (Vec::new(), 0);
        loop {
            if self.take(closing) {
                return Ok((parts, depth));
            }
            let part = self.nested(Self::conditional)?;
            depth = depth.max(part.depth);
            parts.push(part.ast);
            if !self.take(",") {
                self.expect(closing)?;
                return Ok((parts, depth));
            }
        }
    }

    fn map(&mut self) -> Parsed<Part> {
        let (mut entries, mut depth) = (Vec::new(), 0);
        loop {
            if self.take("}") {
                break;
            }
            let key = self.nested(Self::conditional)?;
            self.expect(":")?;
            let value = self.nested(Self::conditional)?;
            depth = depth.max(key.depth).max(value.depth);
            entries.push((key.ast, value.ast));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        self.over(Ast::Map(entries.into()), depth)
    }

    fn name(&mut self, name: &'a str, start: usize) -> Parsed<Part> {
        if self.take("(") {
            return self.call(name, None, start);
        }
        if let Some(local) = self.locals.iter().rposition(|have| *have == name) {
            return Ok(Part { ast: Ast::Local(local as u32), depth: 1 });
        }
        // Type names are values: `type(x) == string`.
        let types = ["int", "double", "string", "bool", "list", "map", "null_type", "type"];
        if let Some(known) = types.iter().find(|known| **known == name) {
            return Ok(Part { ast: Ast::Literal(Value::Type(known)), depth: 1 });
        }
        if RESERVED.contains(&name) || name == "in" {
            return Err(Refusal::syntax(start, format!("`{name}` is a reserved word")));
        }
        if !ROOTS.contains(&name) {
            let near = nearest(name, ROOTS.iter().copied().chain(self.locals.iter().copied()));
            return Err(Refusal {
                code: "UNKNOWN_REFERENCE",
                offset: start,
                message: format!("nothing is called `{name}`"),
                hint: Some(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("an expression begins with one of {}", ROOTS.join(", ")),
                }),
            });
        }
        self.reference(name, start)
    }

    /// A name of the run and the static member path after it.
    fn reference(&mut self, root: &str, start: usize) -> Parsed<Part> {
        let bad = |message: &str, hint: &str| Refusal {
            code: "UNKNOWN_REFERENCE",
            offset: start,
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        };
        let root = match root {
            "inputs" => Root::Inputs,
            "item" => Root::Item,
            "index" => Root::Index,
            "iteration" => Root::Iteration,
            "last" => Root::Last,
            "signal" => match self.step().as_deref() {
                Some("payload") => Root::Signal,
                _ => return Err(bad("`signal` needs a member that is known", "`signal.payload` is known")),
            },
            "run" => {
                let hint = "`run.id` and `run.started_at` are known";
                match self.step().as_deref() {
                    Some("id") => Root::RunId,
                    Some("started_at") => Root::RunStartedAt,
                    _ => return Err(bad("`run` needs a member that is known", hint)),
                }
            }
            _ => {
                let hint = "write `nodes.<id>.output`, `.status` or `.error`, or `nodes[\"a-b\"]` for other ids";
                let id = self.step().ok_or_else(|| bad("`nodes` needs the id of a node, in plain text", hint))?;
                let node = NodeRef { id: id.into() };
                match self.step().as_deref() {
                    Some("output") => Root::Output(node),
                    Some("status") => Root::Status(node),
                    Some("error") => Root::Error(node),
                    Some(other) => {
                        let near = nearest(other, ["output", "status", "error"].into_iter());
                        let hint = near.map_or_else(|| hint.to_owned(), |near| format!("did you mean `{near}`?"));
                        return Err(bad(&format!("a node has no `{other}`"), &hint));
                    }
                    None => return Err(bad("a node is no value by itself", hint)),
                }
            }
        };
        let mut path: Vec<Box<str>> = Vec::new();
        if !matches!(root, Root::Index | Root::Iteration | Root::RunId | Root::RunStartedAt | Root::Status(_)) {
            while let Some(step) = self.step() {
                path.push(step.into());
            }
        }
        if path.len() > self.limits.depth_max {
            return Err(too_deep(self.limits, start));
        }
        let reference = Reference { root, path: path.into(), offset: start as u32 };
        // References are shared, so that a value is read once per evaluation; looked for among the last few only,
        // so that it stays linear.
        let from = self.references.len().saturating_sub(32);
        let same = |have: &Reference| have.root == reference.root && have.path == reference.path;
        let place = match self.references[from..].iter().position(same) {
            Some(place) => from + place,
            None => {
                self.references.push(reference);
                self.references.len() - 1
            }
        };
        Ok(Part { ast: Ast::Reference(place as u32), depth: 1 })
    }

    /// `.name` or `["name"]`, unless `.name(` is a call.
    fn step(&mut self) -> Option<Cow<'a, str>> {
        let ahead = |by: usize| self.tokens.get(self.at + by).map(|(token, _)| token);
        match (ahead(0), ahead(1), ahead(2)) {
            (Some(Token::Sign(".")), Some(Token::Name(name)), next) if next != Some(&Token::Sign("(")) => {
                let name = *name;
                self.at += 2;
                Some(Cow::Borrowed(name))
            }
            (Some(Token::Sign("[")), Some(Token::Text(text)), Some(Token::Sign("]"))) => {
                let text = text.clone();
                self.at += 3;
                Some(text)
            }
            _ => None,
        }
    }

    fn postfix(&mut self, mut part: Part) -> Parsed<Part> {
        loop {
            if self.take(".") {
                let start = self.offset();
                let Token::Name(name) = *self.peek() else { return Err(self.unexpected("a member name")) };
                self.at += 1;
                part = if self.take("(") {
                    self.call(name, Some(part), start)?
                } else {
                    self.over(Ast::Select(Box::new(part.ast), name.into()), part.depth)?
                };
            } else if self.take("[") {
                let index = self.nested(Self::conditional)?;
                self.expect("]")?;
                let depth = part.depth.max(index.depth);
                part = self.over(Ast::Index(Box::new((part.ast, index.ast))), depth)?;
            } else {
                return Ok(part);
            }
        }
    }

    /// A call whose opening bracket is taken.
    fn call(&mut self, name: &'a str, receiver: Option<Part>, start: usize) -> Parsed<Part> {
        if let Some(receiver) = receiver {
            if MACROS.contains(&name) {
                return self.comprehension(name, receiver, start);
            }
            let (arguments, depth) = self.list(")")?;
            let depth = depth.max(receiver.depth);
            let function = arity(name, arguments.len(), true, start)?;
            let arguments = std::iter::once(receiver.ast).chain(arguments).collect();
            return self.function(function, arguments, depth, start);
        }
        if name == "has" {
            let part = self.nested(Self::conditional)?;
            self.expect(")")?;
            let member = match &part.ast {
                Ast::Select(..) | Ast::Index(_) => true,
                Ast::Reference(at) => {
                    let reference = &self.references[*at as usize];
                    !reference.path.is_empty() || matches!(reference.root, Root::Output(_) | Root::Error(_))
                }
                _ => false,
            };
            if !member {
                let message = "`has` asks for a member, as in `has(inputs.note)`";
                return Err(Refusal::syntax(start, message.to_owned()));
            }
            return self.over(Ast::Has(Box::new(part.ast)), part.depth);
        }
        let (arguments, depth) = self.list(")")?;
        let function = arity(name, arguments.len(), false, start)?;
        self.function(function, arguments, depth, start)
    }

    fn function(&self, function: Function, mut arguments: Vec<Ast>, depth: usize, start: usize) -> Parsed<Part> {
        if function == Function::Matches
            && let [_, Ast::Literal(Value::String(pattern))] = &arguments[..]
        {
            let pattern = super::functions::pattern(pattern).map_err(|message| Refusal::syntax(start, message))?;
            arguments.truncate(1);
            if let Some(text) = arguments.pop() {
                return self.over(Ast::Matches(Box::new(text), Box::new(pattern)), depth);
            }
        }
        self.over(Ast::Call(function, arguments.into()), depth)
    }

    fn comprehension(&mut self, name: &str, range: Part, start: usize) -> Parsed<Part> {
        let Token::Name(variable) = *self.peek() else {
            return Err(self.unexpected("the name of the variable"));
        };
        self.at += 1;
        self.expect(",")?;
        self.locals.push(variable);
        let first = self.nested(Self::conditional)?;
        let second = if self.take(",") { Some(self.nested(Self::conditional)?) } else { None };
        self.locals.pop();
        self.expect(")")?;
        let kind = match name {
            "all" => Macro::All,
            "exists" => Macro::Exists,
            "exists_one" => Macro::ExistsOne,
            "map" => Macro::Map,
            _ => Macro::Filter,
        };
        let depth = range.depth.max(first.depth).max(second.as_ref().map_or(0, |part| part.depth));
        let (filter, body) = match second {
            Some(second) if kind == Macro::Map => (Some(first.ast), second.ast),
            Some(_) => return Err(Refusal::syntax(start, format!("`{name}` takes a variable and one expression"))),
            None => (None, first.ast),
        };
        self.over(Ast::Comprehension(Box::new(Comprehension { kind, range: range.ast, filter, body })), depth)
    }
}

/// The function of this name, written so, with this many arguments.
fn arity(name: &str, arguments: usize, method: bool, start: usize) -> Parsed<Function> {
    let Some(signature) = FUNCTIONS.iter().find(|signature| signature.name == name) else {
        let near = nearest(name, FUNCTIONS.iter().map(|signature| signature.name).chain(["has"]).chain(MACROS));
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        let message = format!("there is no function `{name}`");
        return Err(Refusal { code: "BAD_EXPRESSION", offset: start, message, hint });
    };
    match if method { signature.method } else { signature.global } {
        Some((least, most)) if (least..=most).contains(&arguments) => Ok(signature.function),
        Some((least, most)) => {
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            Err(Refusal::syntax(start, format!("`{name}` takes {wanted} arguments here, not {arguments}")))
        }
        None if method => Err(Refusal::syntax(start, format!("write `{name}(…)`, not `….{name}()`"))),
        None => Err(Refusal::syntax(start, format!("write `text.{name}(…)`, not `{name}(…)`"))),
    }
}
