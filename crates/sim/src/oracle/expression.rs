//! The expressions that are drawn here, over plain JSON values. Written apart from the machine's, for the small part of
//! CEL that the definitions of a history use.

use serde_json::{Value, json};

/// Why an expression has no value; the sentence is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoValue(pub(crate) String);

/// What a name that begins a path stands for. The rest of the path is `path`.
pub(crate) trait Names {
    /// `Ok(None)`: there is none, which is null at any depth.
    fn look(&self, path: &[&str]) -> Result<Option<Value>, NoValue>;
}

/// A guard: null is false, and what is no truth value is an error.
pub(crate) fn is_true(text: &str, names: &dyn Names) -> Result<bool, NoValue> {
    match evaluate(text, names)? {
        Value::Bool(value) => Ok(value),
        Value::Null => Ok(false),
        other => Err(NoValue(format!("{other} is no truth value"))),
    }
}

/// A template: strings that are one `${…}` keep the type of their value.
pub(crate) fn render(template: &Value, names: &dyn Names) -> Result<Value, NoValue> {
    Ok(match template {
        Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(inner) if !inner.contains("${") => evaluate(inner, names)?,
            _ => Value::String(interpolate(text, names)?),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| render(item, names)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.clone(), render(value, names)?)));
            Value::Object(fields.collect::<Result<_, NoValue>>()?)
        }
        other => other.clone(),
    })
}

fn interpolate(text: &str, names: &dyn Names) -> Result<String, NoValue> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (inner, after) = after.split_once('}').ok_or_else(|| NoValue("a template does not end".into()))?;
        match evaluate(inner, names)? {
            Value::String(text) => out.push_str(&text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of an expression.
pub(crate) fn evaluate(text: &str, names: &dyn Names) -> Result<Value, NoValue> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0, names };
    let value = reader.either()?;
    if reader.at == tokens.len() { Ok(value) } else { Err(NoValue(format!("{text} goes on"))) }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Value(Value),
    Sign(&'static str),
}

const SIGNS: [&str; 15] = ["||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "!", "(", ")", "."];

fn tokens(text: &str) -> Result<Vec<Token>, NoValue> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            out.push(Token::Sign(sign));
            sign.len()
        } else if first == '\'' {
            let end = rest[1..].find('\'').ok_or_else(|| NoValue("a text does not end".into()))?;
            out.push(Token::Value(json!(rest[1..=end])));
            end + 2
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            out.push(Token::Value(json!(rest[..end].parse::<i64>().map_err(|error| NoValue(error.to_string()))?)));
            end
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            out.push(match name {
                "" => return Err(NoValue(format!("{first} is not known"))),
                "true" | "false" => Token::Value(json!(name == "true")),
                "null" => Token::Value(Value::Null),
                _ => Token::Name(name.into()),
            });
            end
        };
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    names: &'a dyn Names,
}

impl Reader<'_> {
    fn takes(&mut self, sign: &'static str) -> bool {
        let is_there = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(is_there);
        is_there
    }

    /// `||` and `&&` are true to CEL: an error on one side does not matter where the other side decides.
    fn either(&mut self) -> Result<Value, NoValue> {
        let mut left = self.both();
        while self.takes("||") {
            left = decided_by(true, left, self.both());
        }
        left
    }

    fn both(&mut self) -> Result<Value, NoValue> {
        let mut left = self.compared();
        while self.takes("&&") {
            left = decided_by(false, left, self.compared());
        }
        left
    }

    fn compared(&mut self) -> Result<Value, NoValue> {
        let left = self.sum();
        for sign in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.takes(sign) {
                // The right side is read whatever the left one is: a decision may stand behind both.
                let right = self.sum();
                let (left, right) = (left?, right?);
                return match sign {
                    "==" => Ok(json!(left == right)),
                    "!=" => Ok(json!(left != right)),
                    _ => {
                        let (left, right) = (number(&left)?, number(&right)?);
                        Ok(json!(match sign {
                            "<=" => left <= right,
                            ">=" => left >= right,
                            "<" => left < right,
                            _ => left > right,
                        }))
                    }
                };
            }
        }
        left
    }

    fn sum(&mut self) -> Result<Value, NoValue> {
        let mut left = self.one();
        loop {
            let (sign, right) = if self.takes("+") {
                (1, self.one())
            } else if self.takes("-") {
                (-1, self.one())
            } else {
                return left;
            };
            let add = |left: Value, right: Value| Ok(json!(number(&left)? + sign * number(&right)?));
            left = left.and_then(|left| add(left, right?));
        }
    }

    fn one(&mut self) -> Result<Value, NoValue> {
        if self.takes("!") {
            return match self.one()? {
                Value::Bool(value) => Ok(json!(!value)),
                other => Err(NoValue(format!("{other} is no truth value"))),
            };
        }
        if self.takes("(") {
            let value = self.either();
            return if self.takes(")") { value } else { Err(NoValue("a bracket is not closed".into())) };
        }
        let token = self.tokens.get(self.at).ok_or_else(|| NoValue("it ends too soon".into()))?;
        self.at += 1;
        match token {
            Token::Value(value) => Ok(value.clone()),
            Token::Name(name) => {
                let mut path = vec![name.as_str()];
                while self.takes(".") {
                    let Some(Token::Name(name)) = self.tokens.get(self.at) else {
                        return Err(NoValue("a dot without a name".into()));
                    };
                    path.push(name);
                    self.at += 1;
                }
                Ok(self.names.look(&path)?.unwrap_or(Value::Null))
            }
            Token::Sign(sign) => Err(NoValue(format!("{sign} is out of place"))),
        }
    }
}

fn decided_by(deciding: bool, left: Result<Value, NoValue>, right: Result<Value, NoValue>) -> Result<Value, NoValue> {
    if left == Ok(json!(deciding)) || right == Ok(json!(deciding)) {
        return Ok(json!(deciding));
    }
    match (left?, right?) {
        (Value::Bool(_), Value::Bool(_)) => Ok(json!(!deciding)),
        (left, right) => Err(NoValue(format!("{left} or {right} is no truth value"))),
    }
}

fn number(value: &Value) -> Result<i64, NoValue> {
    value.as_i64().ok_or_else(|| NoValue(format!("{value} is no number")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct One;
    impl Names for One {
        fn look(&self, path: &[&str]) -> Result<Option<Value>, NoValue> {
            match path {
                ["inputs", "x"] => Ok(Some(json!(2))),
                ["nodes", "a", "output", ..] => Ok(None),
                _ => Err(NoValue(path.join("."))),
            }
        }
    }

    #[test]
    fn what_is_drawn_has_the_value_that_cel_gives_it() {
        for (text, value) in [
            ("inputs.x > 1 && !(inputs.x >= 3)", json!(true)),
            ("inputs.x + 1 - 3 == 0", json!(true)),
            ("nodes.a.output.v == null", json!(true)),
            ("inputs.y == 1 && inputs.x == 0", json!(false)),
            ("inputs.x == 2 || inputs.y == 1", json!(true)),
            ("'ab' == 'ab'", json!(true)),
        ] {
            assert_eq!(evaluate(text, &One), Ok(value), "{text}");
        }
        for text in ["inputs.y", "nodes.a.output.v > 1", "'a' > 1", "!1", "1 +", "(1", "1 1"] {
            assert!(evaluate(text, &One).is_err(), "{text}");
        }
        let template = json!({"a": "${inputs.x}", "b": ["x${inputs.x}y", 1]});
        assert_eq!(render(&template, &One), Ok(json!({"a": 2, "b": ["x2y", 1]})));
        assert_eq!(is_true("nodes.a.output.v", &One), Ok(false));
    }
}
