//! What the functions of expressions do.

use super::ast::Function;
use super::evaluate::{Evaluator, Fault, fault};
use super::time;
use crate::value::Value;
use crate::value::tree::whole_number;
use std::cmp::Ordering;
use std::sync::Arc;

/// Bytes that a compiled pattern may take; what is larger is refused.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Compiles a pattern (RE2 syntax, matched in linear time).
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).nest_limit(64).build().map_err(|error| {
        let text = error.to_string();
        format!("the pattern is not valid: {}", text.lines().last().unwrap_or_default().trim())
    })
}

type Evaluated = Result<Value, Fault>;

/// The units that looking through a text costs.
pub(crate) fn text_units(text: &str) -> u64 {
    text.len() as u64 / 64
}

fn missing(name: &str, values: &[Value]) -> Fault {
    let types: Vec<&str> = values.iter().map(Value::type_name).collect();
    fault(format!("`{name}` is not defined for {}", types.join(", ")))
}

impl Evaluator<'_> {
    /// Calls a function on evaluated arguments; a receiver is the first.
    pub(crate) fn call(&mut self, function: Function, values: &[Value]) -> Evaluated {
        for value in values {
            if let Value::String(text) = value {
                self.charge(text_units(text))?;
            }
        }
        match (function, values) {
            (Function::Dyn, [value]) => Ok(value.clone()),
            (Function::Type, [value]) => Ok(Value::Type(value.type_name())),
            (Function::Size, [value]) => match value {
                Value::String(text) => Ok(Value::Int(text.chars().count() as i64)),
                Value::List(items) => Ok(Value::Int(items.len() as i64)),
                Value::Map(map) => Ok(Value::Int(map.entries().len() as i64)),
                _ => Err(missing("size", values)),
            },
            (Function::Contains, [Value::String(a), Value::String(b)]) => Ok(Value::Bool(a.contains(&**b))),
            (Function::StartsWith, [Value::String(a), Value::String(b)]) => Ok(Value::Bool(a.starts_with(&**b))),
            (Function::EndsWith, [Value::String(a), Value::String(b)]) => Ok(Value::Bool(a.ends_with(&**b))),
            (Function::Matches, [Value::String(text), Value::String(source)]) => {
                // Compiling is the larger part; the factor is from the bench of `matches` (about 60 ns a unit).
                self.charge(200 + 10 * source.len() as u64)?;
                let compiled = pattern(source).map_err(fault)?;
                self.matches(text, &compiled)
            }
            (Function::Int, [value]) => int(value),
            (Function::Double, [value]) => match value {
                Value::Int(number) => Ok(Value::Double(*number as f64)),
                Value::Double(_) => Ok(value.clone()),
                Value::String(text) => {
                    text.parse().map(Value::Double).map_err(|_| fault("the text is no number".to_owned()))
                }
                _ => Err(missing("double", values)),
            },
            (Function::String, [value]) => match value {
                Value::Int(_) | Value::Bool(_) | Value::Timestamp(_) | Value::Duration(_) => {
                    Ok(Value::text(&value.to_text()))
                }
                Value::Double(number) => Ok(Value::text(&number.to_string())),
                Value::String(_) => Ok(value.clone()),
                _ => Err(missing("string", values)),
            },
            (Function::Bool, [value]) => match value {
                Value::Bool(_) => Ok(value.clone()),
                Value::String(text) => match &**text {
                    "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
                    "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
                    _ => Err(fault("the text is no truth value".to_owned())),
                },
                _ => Err(missing("bool", values)),
            },
            (Function::Timestamp, [Value::String(text)]) => time::parse_timestamp(text)
                .map(Value::Timestamp)
                .ok_or_else(|| fault("the text is no RFC 3339 time".to_owned())),
            (Function::Timestamp, [Value::Int(seconds)]) => time::in_range(i128::from(*seconds) * 1_000_000_000)
                .map(Value::Timestamp)
                .ok_or_else(|| fault("the time is outside the years 1 to 9999".to_owned())),
            (Function::Timestamp, [value @ Value::Timestamp(_)]) => Ok(value.clone()),
            (Function::Duration, [Value::String(text)]) => time::parse_duration(text)
                .map(Value::Duration)
                .ok_or_else(|| fault("the text is no duration, such as \"1h30m\"".to_owned())),
            (Function::Duration, [value @ Value::Duration(_)]) => Ok(value.clone()),
            (Function::Min, values) => self.extreme("min", values, Ordering::Less),
            (Function::Max, values) => self.extreme("max", values, Ordering::Greater),
            (Function::LowerAscii, [Value::String(text)]) => Ok(Value::text(&text.to_ascii_lowercase())),
            (Function::UpperAscii, [Value::String(text)]) => Ok(Value::text(&text.to_ascii_uppercase())),
            (Function::Split, [Value::String(text), Value::String(by), rest @ ..]) => {
                let parts = match rest {
                    [] => -1,
                    [Value::Int(parts)] => *parts,
                    _ => return Err(missing("split", values)),
                };
                self.split(text, by, parts)
            }
            (Function::Join, [Value::List(items), rest @ ..]) => {
                let by = match rest {
                    [] => "",
                    [Value::String(by)] => by,
                    _ => return Err(missing("join", values)),
                };
                let mut joined = String::new();
                for (i, item) in items.iter().enumerate() {
                    let Value::String(text) = item else { return Err(missing("join", std::slice::from_ref(item))) };
                    self.charge(1 + text_units(text) + text_units(by))?;
                    if i > 0 {
                        joined.push_str(by);
                    }
                    joined.push_str(text);
                }
                Ok(Value::String(joined.into()))
            }
            (function, values) => Err(missing(name(function), values)),
        }
    }

    /// Whether a pattern matches anywhere in a text.
    pub(crate) fn matches(&mut self, text: &str, compiled: &regex::Regex) -> Evaluated {
        // Linear in the text for a given pattern, at worst its length times the pattern's.
        self.charge((text.len() as u64 + 1) * (compiled.as_str().len() as u64 + 1) / 1_024)?;
        Ok(Value::Bool(compiled.is_match(text)))
    }

    fn extreme(&mut self, name: &str, values: &[Value], wanted: Ordering) -> Evaluated {
        let values = match values {
            [Value::List(items)] => items.as_slice(),
            values => values,
        };
        let Some((first, rest)) = values.split_first() else {
            return Err(fault(format!("`{name}` of nothing")));
        };
        let mut found = first;
        if !matches!(first, Value::Int(_) | Value::Double(_)) {
            return Err(missing(name, std::slice::from_ref(first)));
        }
        for value in rest {
            self.charge(1)?;
            if !matches!(value, Value::Int(_) | Value::Double(_)) {
                return Err(missing(name, std::slice::from_ref(value)));
            }
            if self.order(value, found)? == Some(wanted) {
                found = value;
            }
        }
        Ok(found.clone())
    }

    fn split(&mut self, text: &str, by: &str, parts: i64) -> Evaluated {
        if parts == 0 {
            return Ok(Value::List(Arc::default()));
        }
        let limit = usize::try_from(parts).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut rest = text;
        while items.len() + 1 < limit {
            self.charge(1)?;
            let (end, after) = if by.is_empty() {
                // An empty separator gives the characters.
                match rest.chars().next() {
                    Some(c) if c.len_utf8() < rest.len() => (c.len_utf8(), c.len_utf8()),
                    _ => break,
                }
            } else {
                match rest.find(by) {
                    Some(at) => (at, at + by.len()),
                    None => break,
                }
            };
            items.push(Value::text(&rest[..end]));
            rest = &rest[after..];
        }
        if !(by.is_empty() && rest.is_empty()) {
            items.push(Value::text(rest));
        }
        Ok(Value::List(Arc::new(items)))
    }
}

fn int(value: &Value) -> Evaluated {
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Double(number) => {
            whole_number(number.trunc()).map(Value::Int).ok_or_else(|| fault("the number is outside int64".to_owned()))
        }
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| fault("the text is no integer".to_owned())),
        Value::Timestamp(ns) => Ok(Value::Int(ns.div_euclid(1_000_000_000) as i64)),
        _ => Err(missing("int", std::slice::from_ref(value))),
    }
}

fn name(function: Function) -> &'static str {
    super::ast::FUNCTIONS.iter().find(|known| known.function == function).map_or("function", |known| known.name)
}
