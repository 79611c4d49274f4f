//! Running an [`Ast`] against a [`Scope`]. Every step is charged before it is done, in cost units that depend on
//! the expression and the values alone.

use super::ast::{Ast, Comparison, Comprehension, Macro, Operator, Reference, Root};
use super::functions::text_units;
use super::{Budget, Member, Scope, time};
use crate::value::tree::whole_number;
use crate::value::{Map, Value, ValueLimits, cut, parse};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// Why an evaluation stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The budget is used up; not absorbed by `&&`, `||` or a macro.
    Cost,
    /// Anything else.
    Failed(Box<str>),
}

pub(crate) fn fault(message: String) -> Fault {
    Fault::Failed(message.into())
}

type Evaluated = Result<Value, Fault>;

/// Values inside a run passed `check` with the limits of their border, so only the size of integers limits here.
const ANY: ValueLimits = ValueLimits { bytes_max: usize::MAX, depth_max: 256 };

/// What a reference names.
pub(crate) enum Found<'s> {
    /// No output, no error, not in a body: null at any depth.
    Nothing,
    /// The holder is there, the member is not.
    Missing,
    /// JSON bytes.
    Raw(Cow<'s, [u8]>),
    /// A value that has no bytes.
    Value(Value),
}

/// One evaluation.
pub(crate) struct Evaluator<'e> {
    scope: &'e dyn Scope,
    budget: &'e mut Budget,
    references: &'e [Reference],
    read: Vec<Option<Value>>,
    locals: Vec<Value>,
}

/// Looks a reference up without building a tree.
pub(crate) fn find<'s>(scope: &'s dyn Scope, reference: &Reference) -> Found<'s> {
    let inside = |whole: Option<Cow<'s, [u8]>>| match whole {
        None => Found::Nothing,
        Some(whole) if reference.path.is_empty() => Found::Raw(whole),
        Some(Cow::Borrowed(whole)) => cut(whole, &reference.path).map_or(Found::Missing, |raw| Found::Raw(raw.into())),
        Some(Cow::Owned(whole)) => {
            cut(&whole, &reference.path).map_or(Found::Missing, |raw| Found::Raw(raw.to_vec().into()))
        }
    };
    let integer = |value: Option<i64>| value.map_or(Found::Nothing, |value| Found::Value(Value::Int(value)));
    match &reference.root {
        Root::Inputs => inside(Some(scope.inputs().into())),
        Root::Output(node) => match scope.output(node, &reference.path) {
            Member::NoOutput => Found::Nothing,
            Member::Missing => Found::Missing,
            Member::Raw(raw) => Found::Raw(raw),
        },
        Root::Status(node) => scope.status(node).map_or(Found::Nothing, |status| Found::Value(Value::text(status))),
        Root::Error(node) => inside(scope.error(node)),
        Root::Item => inside(scope.item()),
        Root::Index => integer(scope.index()),
        Root::Iteration => integer(scope.iteration()),
        Root::Last => inside(scope.last()),
        Root::Signal => inside(scope.signal()),
        Root::RunId => Found::Value(Value::text(scope.run_id())),
        Root::RunStartedAt => Found::Value(Value::text(&time::write_timestamp(scope.run_started_ns().into()))),
    }
}

/// Takes units from a budget.
pub(crate) fn charge(budget: &mut Budget, units: u64) -> Result<(), Fault> {
    budget.used = budget.used.saturating_add(units);
    if budget.used > budget.max { Err(Fault::Cost) } else { Ok(()) }
}

/// The units of copying so many bytes.
pub(crate) fn copy_units(bytes: usize) -> u64 {
    1 + bytes as u64 / 256
}

pub(crate) fn missing_member(reference: &Reference) -> Fault {
    fault(format!("there is no member {:?}", reference.path.last().map_or("", |name| name)))
}

impl<'e> Evaluator<'e> {
    pub(crate) fn new(scope: &'e dyn Scope, budget: &'e mut Budget, references: &'e [Reference]) -> Self {
        Self { scope, budget, references, read: Vec::new(), locals: Vec::new() }
    }

    pub(crate) fn charge(&mut self, units: u64) -> Result<(), Fault> {
        charge(self.budget, units)
    }

    pub(crate) fn evaluate(&mut self, ast: &Ast) -> Evaluated {
        self.charge(1)?;
        match ast {
            Ast::Literal(value) => Ok(value.clone()),
            Ast::Reference(at) => self.reference(*at),
            Ast::Local(at) => Ok(self.locals[*at as usize].clone()),
            Ast::List(parts) => {
                let items = parts.iter().map(|part| self.evaluate(part)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::List(Arc::new(items)))
            }
            Ast::Map(parts) => {
                let mut entries = Vec::with_capacity(parts.len());
                for (key, value) in parts {
                    entries.push((self.evaluate(key)?, self.evaluate(value)?));
                }
                let map = Map::new(entries).ok_or_else(|| {
                    fault("the keys of a map must differ and be texts, integers or truth values".to_owned())
                })?;
                Ok(Value::Map(Arc::new(map)))
            }
            Ast::Select(holder, name) => {
                let holder = self.evaluate(holder)?;
                self.select(&holder, name)
            }
            Ast::Index(parts) => {
                let holder = self.evaluate(&parts.0)?;
                let index = self.evaluate(&parts.1)?;
                self.index(&holder, &index)
            }
            Ast::Has(member) => self.has(member),
            Ast::Not(part) => match self.evaluate(part)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                other => Err(no_operator("!", &[&other])),
            },
            Ast::Negate(part) => match self.evaluate(part)? {
                Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
                Value::Double(value) => Ok(Value::Double(-value)),
                Value::Duration(value) => value.checked_neg().map(Value::Duration).ok_or_else(overflow),
                other => Err(no_operator("-", &[&other])),
            },
            Ast::And(parts) => self.logic(parts, false, "&&"),
            Ast::Or(parts) => self.logic(parts, true, "||"),
            Ast::Compare(comparison, parts) => {
                let left = self.evaluate(&parts.0)?;
                let right = self.evaluate(&parts.1)?;
                self.compare(*comparison, &left, &right).map(Value::Bool)
            }
            Ast::Arithmetic(first, rest) => {
                let mut value = self.evaluate(first)?;
                for (operator, part) in rest {
                    let right = self.evaluate(part)?;
                    value = self.arithmetic(*operator, value, &right)?;
                }
                Ok(value)
            }
            Ast::Conditional(parts) => match self.evaluate(&parts.0)? {
                Value::Bool(true) => self.evaluate(&parts.1),
                Value::Bool(false) => self.evaluate(&parts.2),
                other => Err(no_operator("?:", &[&other])),
            },
            Ast::Call(function, parts) => {
                let values = parts.iter().map(|part| self.evaluate(part)).collect::<Result<Vec<_>, _>>()?;
                self.call(*function, &values)
            }
            Ast::Matches(text, pattern) => match self.evaluate(text)? {
                Value::String(text) => self.matches(&text, pattern),
                other => Err(no_operator("matches", &[&other])),
            },
            Ast::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn reference(&mut self, at: u32) -> Evaluated {
        if let Some(Some(value)) = self.read.get(at as usize) {
            return Ok(value.clone());
        }
        let references = self.references;
        let reference = &references[at as usize];
        let value = match find(self.scope, reference) {
            Found::Nothing => Value::Null,
            Found::Missing => return Err(missing_member(reference)),
            Found::Value(value) => value,
            Found::Raw(raw) => {
                // Building a tree costs about four times what copying the bytes does.
                self.charge(raw.len() as u64 / 64)?;
                parse(&raw, &ANY).map_err(|error| fault(error.message))?
            }
        };
        if self.read.is_empty() {
            self.read.resize(references.len(), None);
        }
        self.read[at as usize] = Some(value.clone());
        Ok(value)
    }

    fn select(&mut self, holder: &Value, name: &str) -> Evaluated {
        match holder {
            Value::Map(map) => map.member(name).cloned().ok_or_else(|| fault(format!("there is no member {name:?}"))),
            // A reference into a node without output is null at any depth.
            Value::Null => Ok(Value::Null),
            other => Err(fault(format!("{} has no members", other.type_name()))),
        }
    }

    fn index(&mut self, holder: &Value, index: &Value) -> Evaluated {
        let place = match index {
            Value::Int(place) => Some(*place),
            Value::Double(place) => whole_number(*place),
            _ => None,
        };
        match (holder, place) {
            (Value::Null, _) => Ok(Value::Null),
            (Value::List(items), Some(place)) => usize::try_from(place)
                .ok()
                .and_then(|place| items.get(place))
                .cloned()
                .ok_or_else(|| fault(format!("there is no item {place} in a list of {}", items.len()))),
            (Value::Map(map), _) => {
                map.get(index).cloned().ok_or_else(|| fault(format!("there is no member {:?}", index.to_text())))
            }
            (holder, _) => Err(no_operator("[]", &[holder, index])),
        }
    }

    fn has(&mut self, member: &Ast) -> Evaluated {
        let found = match member {
            Ast::Reference(at) => {
                let reference = &self.references[*at as usize];
                match find(self.scope, reference) {
                    Found::Nothing | Found::Missing => false,
                    Found::Raw(_) | Found::Value(_) => true,
                }
            }
            Ast::Select(holder, name) => match self.evaluate(holder)? {
                Value::Map(map) => map.member(name).is_some(),
                Value::Null => false,
                other => return Err(fault(format!("{} has no members", other.type_name()))),
            },
            Ast::Index(parts) => {
                let holder = self.evaluate(&parts.0)?;
                let index = self.evaluate(&parts.1)?;
                match &holder {
                    Value::Map(map) => map.get(&index).is_some(),
                    Value::Null => false,
                    Value::List(_) => self.index(&holder, &index).is_ok(),
                    other => return Err(fault(format!("{} has no members", other.type_name()))),
                }
            }
            _ => false,
        };
        Ok(Value::Bool(found))
    }

    /// `&&` (decided by false) and `||` (decided by true). One side that decides absorbs an error of the other.
    fn logic(&mut self, parts: &[Ast], decides: bool, sign: &str) -> Evaluated {
        let mut failed = None;
        for part in parts {
            match self.evaluate(part) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(other) => failed = failed.or_else(|| Some(no_operator(sign, &[&other]))),
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn compare(&mut self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool, Fault> {
        let wanted: fn(Ordering) -> bool = match comparison {
            Comparison::Equal => return self.equal(left, right),
            Comparison::NotEqual => return self.equal(left, right).map(|equal| !equal),
            Comparison::In => return self.contained(left, right),
            Comparison::Less => Ordering::is_lt,
            Comparison::LessOrEqual => Ordering::is_le,
            Comparison::Greater => Ordering::is_gt,
            Comparison::GreaterOrEqual => Ordering::is_ge,
        };
        Ok(self.order(left, right)?.is_some_and(wanted))
    }

    fn contained(&mut self, item: &Value, holder: &Value) -> Result<bool, Fault> {
        match holder {
            Value::List(items) => {
                for other in items.iter() {
                    if self.equal(item, other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => Ok(map.get(item).is_some()),
            other => Err(no_operator("in", &[item, other])),
        }
    }

    /// Equality as CEL has it: numbers by value, other types never equal across.
    pub(crate) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        self.charge(1)?;
        Ok(match (left, right) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
                number_order(left, right) == Some(Ordering::Equal)
            }
            (Value::String(a), Value::String(b)) => {
                self.charge(text_units(a).min(text_units(b)))?;
                a == b
            }
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.entries().len() != b.entries().len() {
                    return Ok(false);
                }
                for (key, value) in a.entries() {
                    let Some(other) = b.get(key) else { return Ok(false) };
                    if !self.equal(value, other)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }

    /// Order of two values of one kind; `None` where one is NaN.
    pub(crate) fn order(&mut self, left: &Value, right: &Value) -> Result<Option<Ordering>, Fault> {
        Ok(match (left, right) {
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => number_order(left, right),
            (Value::String(a), Value::String(b)) => {
                self.charge(text_units(a).min(text_units(b)))?;
                Some(a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (left, right) => return Err(no_operator("<", &[left, right])),
        })
    }

    fn arithmetic(&mut self, operator: Operator, left: Value, right: &Value) -> Evaluated {
        let timestamp = |ns: i128| {
            time::in_range(ns)
                .map(Value::Timestamp)
                .ok_or_else(|| fault("the time is outside the years 1 to 9999".to_owned()))
        };
        match (operator, &left, right) {
            (_, Value::Int(a), Value::Int(b)) => {
                let (a, b) = (*a, *b);
                if b == 0 && matches!(operator, Operator::Divide | Operator::Remainder) {
                    return Err(fault("division by zero".to_owned()));
                }
                let value = match operator {
                    Operator::Add => a.checked_add(b),
                    Operator::Subtract => a.checked_sub(b),
                    Operator::Multiply => a.checked_mul(b),
                    Operator::Divide => a.checked_div(b),
                    Operator::Remainder => a.checked_rem(b),
                };
                value.map(Value::Int).ok_or_else(overflow)
            }
            (Operator::Add, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
            (Operator::Subtract, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
            (Operator::Multiply, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
            (Operator::Divide, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
            (Operator::Add, Value::String(a), Value::String(b)) => {
                self.charge(copy_units(a.len() + b.len()))?;
                Ok(Value::String([&**a, &**b].concat().into()))
            }
            (Operator::Add, Value::List(a), Value::List(b)) => {
                // An item takes as much room as 32 bytes of text.
                self.charge(copy_units((a.len() + b.len()) * 32))?;
                Ok(Value::List(Arc::new(a.iter().chain(b.iter()).cloned().collect())))
            }
            (Operator::Add, Value::Timestamp(a), Value::Duration(b)) => timestamp(a + i128::from(*b)),
            (Operator::Add, Value::Duration(a), Value::Timestamp(b)) => timestamp(b + i128::from(*a)),
            (Operator::Subtract, Value::Timestamp(a), Value::Duration(b)) => timestamp(a - i128::from(*b)),
            (Operator::Subtract, Value::Timestamp(a), Value::Timestamp(b)) => {
                i64::try_from(a - b).map(Value::Duration).map_err(|_| overflow())
            }
            (Operator::Add, Value::Duration(a), Value::Duration(b)) => {
                a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
            }
            (Operator::Subtract, Value::Duration(a), Value::Duration(b)) => {
                a.checked_sub(*b).map(Value::Duration).ok_or_else(overflow)
            }
            (operator, left, right) => {
                let sign = match operator {
                    Operator::Add => "+",
                    Operator::Subtract => "-",
                    Operator::Multiply => "*",
                    Operator::Divide => "/",
                    Operator::Remainder => "%",
                };
                Err(no_operator(sign, &[left, right]))
            }
        }
    }

    fn comprehension(&mut self, comprehension: &Comprehension) -> Evaluated {
        let range = match self.evaluate(&comprehension.range)? {
            Value::List(items) => items,
            Value::Map(map) => Arc::new(map.entries().iter().map(|(key, _)| key.clone()).collect()),
            Value::Null => Arc::default(),
            other => return Err(fault(format!("{} is no list to go through", other.type_name()))),
        };
        let (mut found, mut count, mut failed) = (Vec::new(), 0_usize, None);
        for item in range.iter() {
            self.charge(1)?;
            self.locals.push(item.clone());
            let taken = match &comprehension.filter {
                Some(filter) => self.truth(filter),
                None => Ok(true),
            };
            let value = match taken {
                Ok(true) => self.evaluate(&comprehension.body).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            };
            self.locals.pop();
            let value = match value {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                // `all` and `exists` are chains of `&&` and `||`: an error waits for an item that decides.
                Err(error @ Fault::Failed(_)) if matches!(comprehension.kind, Macro::All | Macro::Exists) => {
                    failed = failed.or(Some(error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            match (comprehension.kind, value) {
                (Macro::Map, value) => found.push(value),
                (Macro::All, Value::Bool(false)) => return Ok(Value::Bool(false)),
                (Macro::Exists, Value::Bool(true)) => return Ok(Value::Bool(true)),
                (Macro::ExistsOne, Value::Bool(true)) => count += 1,
                (Macro::Filter, Value::Bool(true)) => found.push(item.clone()),
                (_, Value::Bool(_)) => {}
                (Macro::All | Macro::Exists, other) => {
                    failed = failed.or_else(|| Some(no_operator("a condition", &[&other])));
                }
                (_, other) => return Err(no_operator("a condition", &[&other])),
            }
        }
        match (comprehension.kind, failed) {
            (_, Some(error)) => Err(error),
            (Macro::Map | Macro::Filter, None) => Ok(Value::List(Arc::new(found))),
            (Macro::All, None) => Ok(Value::Bool(true)),
            (Macro::Exists, None) => Ok(Value::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Value::Bool(count == 1)),
        }
    }

    fn truth(&mut self, ast: &Ast) -> Result<bool, Fault> {
        match self.evaluate(ast)? {
            Value::Bool(value) => Ok(value),
            other => Err(no_operator("a condition", &[&other])),
        }
    }
}

fn overflow() -> Fault {
    fault("the result is outside int64".to_owned())
}

fn no_operator(sign: &str, values: &[&Value]) -> Fault {
    let types: Vec<&str> = values.iter().map(|value| value.type_name()).collect();
    let mut message = format!("`{sign}` is not defined for {}", types.join(" and "));
    let mixed = values.iter().any(|value| matches!(value, Value::Int(_)))
        && values.iter().any(|value| matches!(value, Value::Double(_)));
    if mixed {
        message.push_str("; convert one with int() or double()");
    }
    fault(message)
}

/// Order of two numbers by value, exact across integer and double.
pub(crate) fn number_order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Double(b)) => int_double_order(*a, *b),
        (Value::Double(a), Value::Int(b)) => int_double_order(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

fn int_double_order(a: i64, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    match whole_number(b.floor()) {
        Some(floor) => Some(a.cmp(&floor).then(if b > b.floor() { Ordering::Less } else { Ordering::Equal })),
        None => Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater }),
    }
}
