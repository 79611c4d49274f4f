//! Templates: JSON with `${…}` inside strings, compiled once.
//!
//! A string that is one `${…}` keeps its value's type; inside a longer string a text stands as it is and anything
//! else as its JSON; `$${` writes `${`. What an expression gives is never scanned again.

use super::ast::Reference;
use super::evaluate::{Fault, Found, charge, copy_units, fault, find, missing_member};
use super::lexer::closing_brace;
use super::{Budget, ExprError, Expression, Refusal, Scope};
use crate::limits::ExpressionLimits;
use crate::value::canonical::{by_name, write, write_string};
use crate::value::scan::{At, Document, Kind, read, unescape};
use crate::value::{Value, ValueLimits, parse};
use std::borrow::Cow;

/// A JSON value with `${…}` inside strings.
#[derive(Debug)]
pub struct Template {
    shape: Shape,
    /// `{"secret": name}` must be written down: a value that an expression gives may not be one.
    secrets_are_literal: bool,
}

#[derive(Debug)]
enum Shape {
    /// JSON bytes.
    Constant(Box<[u8]>),
    /// One `${…}`.
    Value(Box<Expression>),
    /// A string with `${…}` inside.
    Text(Box<[TextPiece]>),
    /// An array or object with `${…}` inside, in the order written.
    Tree(Box<[Piece]>),
}

/// A part of a string.
#[derive(Debug)]
enum TextPiece {
    Literal(Box<str>),
    Value(Expression),
}

/// A part of a JSON text.
#[derive(Debug)]
enum Piece {
    /// JSON text.
    Raw(Box<[u8]>),
    /// A value of its own.
    Value(Expression),
    /// Inside a string that `Raw` opened.
    Inside(Expression),
}

/// A string, looked through.
enum Text<'a> {
    Plain(Cow<'a, str>),
    Single(Expression),
    Mixed(Vec<TextPiece>),
}

/// Compiles templates and collects what is wrong, with the slot of the string.
pub(crate) struct Compiler<'l> {
    pub(crate) limits: &'l ExpressionLimits,
    pub(crate) faults: Vec<(At, Refusal)>,
}

struct Writer {
    pieces: Vec<Piece>,
    raw: Vec<u8>,
}

impl Writer {
    fn put(&mut self, piece: Piece) {
        if !self.raw.is_empty() {
            self.pieces.push(Piece::Raw(std::mem::take(&mut self.raw).into()));
        }
        self.pieces.push(piece);
    }
}

impl Compiler<'_> {
    /// Compiles what stands at a slot.
    pub(crate) fn compile(&mut self, document: &Document<'_>, at: At) -> Template {
        let shape = match document.kind(at) {
            Kind::String => match self.text(document, at) {
                Text::Plain(text) => Shape::Constant(quoted(&text)),
                Text::Single(expression) => Shape::Value(Box::new(expression)),
                Text::Mixed(pieces) => Shape::Text(pieces.into()),
            },
            _ => {
                let mut writer = Writer { pieces: Vec::new(), raw: Vec::new() };
                self.value(document, at, &|_| true, &mut writer);
                writer.finish()
            }
        };
        Template { shape, secrets_are_literal: false }
    }

    /// Compiles an object in which only some members hold expressions; the others are literal.
    pub(crate) fn compile_members(&mut self, document: &Document<'_>, at: At, scanned: &[&str]) -> Template {
        let mut writer = Writer { pieces: Vec::new(), raw: Vec::new() };
        self.value(document, at, &|name| scanned.contains(&name), &mut writer);
        Template { shape: writer.finish(), secrets_are_literal: false }
    }

    /// Compiles what is written with literal secrets inside: headers, and the config of a function.
    pub(crate) fn compile_with_secrets(&mut self, document: &Document<'_>, at: At) -> Template {
        Template { secrets_are_literal: true, ..self.compile(document, at) }
    }

    fn value(&mut self, document: &Document<'_>, at: At, scanned: &dyn Fn(&str) -> bool, out: &mut Writer) {
        match document.kind(at) {
            Kind::String => match self.text(document, at) {
                Text::Plain(text) => write_string(&text, &mut out.raw),
                Text::Single(expression) => out.put(Piece::Value(expression)),
                Text::Mixed(pieces) => {
                    out.raw.push(b'"');
                    for piece in pieces {
                        match piece {
                            TextPiece::Literal(text) => {
                                crate::value::canonical::write_escaped(&text, &mut out.raw);
                            }
                            TextPiece::Value(expression) => out.put(Piece::Inside(expression)),
                        }
                    }
                    out.raw.push(b'"');
                }
            },
            Kind::Array => {
                out.raw.push(b'[');
                for (i, element) in document.elements(at).enumerate() {
                    if i > 0 {
                        out.raw.push(b',');
                    }
                    self.value(document, element, &|_| true, out);
                }
                out.raw.push(b']');
            }
            Kind::Object => {
                let mut members: Vec<(Cow<'_, str>, At, At)> =
                    document.members(at).map(|(key, value)| (document.string(key), key, value)).collect();
                members.sort_unstable_by(|a, b| by_name(&a.0, &b.0));
                out.raw.push(b'{');
                for (i, (name, key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.raw.push(b',');
                    }
                    if name.contains("${") {
                        let message = "expressions are not evaluated in the names of members".to_owned();
                        self.faults.push((*key, Refusal::syntax(0, message)));
                    }
                    write_string(name, &mut out.raw);
                    out.raw.push(b':');
                    if scanned(name) {
                        self.value(document, *value, &|_| true, out);
                    } else {
                        write(document, *value, &mut out.raw);
                    }
                }
                out.raw.push(b'}');
            }
            _ => write(document, at, &mut out.raw),
        }
    }

    fn text<'d>(&mut self, document: &Document<'d>, at: At) -> Text<'d> {
        let text = document.string(at);
        if !text.contains("${") {
            return Text::Plain(text);
        }
        match pieces(&text, self.limits) {
            Ok(pieces) => text_of(pieces),
            Err(refusal) => {
                self.faults.push((at, refusal));
                Text::Plain(Cow::Borrowed(""))
            }
        }
    }
}

fn text_of<'d>(mut pieces: Vec<TextPiece>) -> Text<'d> {
    match pieces.pop() {
        Some(TextPiece::Value(expression)) if pieces.is_empty() => Text::Single(expression),
        Some(TextPiece::Literal(text)) if pieces.is_empty() => Text::Plain(Cow::Owned(text.into())),
        Some(last) => {
            pieces.push(last);
            Text::Mixed(pieces)
        }
        None => Text::Plain(Cow::Borrowed("")),
    }
}

/// Cuts a string into literal text and expressions.
fn pieces(text: &str, limits: &ExpressionLimits) -> Result<Vec<TextPiece>, Refusal> {
    let (mut out, mut literal, mut pos) = (Vec::new(), String::new(), 0);
    while let Some(found) = text[pos..].find("${") {
        let sign = pos + found;
        if sign > pos && text.as_bytes()[sign - 1] == b'$' {
            literal.push_str(&text[pos..sign - 1]);
            literal.push_str("${");
            pos = sign + 2;
            continue;
        }
        literal.push_str(&text[pos..sign]);
        let end = closing_brace(text, sign + 2).ok_or_else(|| {
            Refusal::syntax(sign, "`${` without its `}`; write `$${` for the signs themselves".to_owned())
        })?;
        let expression = Expression::compile(&text[sign + 2..end], limits)
            .map_err(|refusal| Refusal { offset: refusal.offset + sign + 2, ..refusal })?;
        if !literal.is_empty() {
            out.push(TextPiece::Literal(std::mem::take(&mut literal).into()));
        }
        out.push(TextPiece::Value(expression));
        pos = end + 1;
    }
    literal.push_str(&text[pos..]);
    if !literal.is_empty() {
        out.push(TextPiece::Literal(literal.into()));
    }
    Ok(out)
}

impl Writer {
    fn finish(mut self) -> Shape {
        if self.pieces.is_empty() {
            return Shape::Constant(self.raw.into());
        }
        if !self.raw.is_empty() {
            self.pieces.push(Piece::Raw(self.raw.into()));
        }
        Shape::Tree(self.pieces.into())
    }
}

fn quoted(text: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    out.into()
}

impl Template {
    /// Compiles JSON bytes. Nodes are not looked up, as in [`Expression::compile`].
    ///
    /// # Errors
    /// The first fault of the JSON or of an expression.
    pub fn compile(json: &[u8], limits: &ExpressionLimits) -> Result<Self, Refusal> {
        let document = read(json, &ValueLimits::default()).map_err(|error| Refusal {
            code: error.code,
            offset: error.offset,
            message: error.message,
            hint: None,
        })?;
        let mut compiler = Compiler { limits, faults: Vec::new() };
        let template = compiler.compile(&document, 0);
        compiler.faults.into_iter().next().map_or(Ok(template), |(_, refusal)| Err(refusal))
    }

    /// A template of constant bytes.
    pub(crate) fn literal(json: Vec<u8>) -> Self {
        Self { shape: Shape::Constant(json.into()), secrets_are_literal: false }
    }

    /// The bytes, where no expression is inside.
    #[must_use]
    pub fn constant(&self) -> Option<&[u8]> {
        match &self.shape {
            Shape::Constant(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether it is one `${…}`, which may give anything.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.shape, Shape::Value(_))
    }

    /// The literal text before the first expression of a string, and whether it is all.
    pub(crate) fn literal_start(&self) -> (Cow<'_, str>, bool) {
        match &self.shape {
            Shape::Constant(bytes) => {
                let inner = std::str::from_utf8(bytes).ok().and_then(|text| text.get(1..text.len().max(2) - 1));
                (inner.map(unescape).unwrap_or_default().into(), true)
            }
            Shape::Text(pieces) => match pieces.first() {
                Some(TextPiece::Literal(text)) => (Cow::Borrowed(&**text), false),
                _ => (Cow::Borrowed(""), false),
            },
            _ => (Cow::Borrowed(""), false),
        }
    }

    /// The expressions inside.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let (single, text, tree): (Option<&Expression>, &[TextPiece], &[Piece]) = match &self.shape {
            Shape::Constant(_) => (None, &[], &[]),
            Shape::Value(expression) => (Some(expression), &[], &[]),
            Shape::Text(pieces) => (None, pieces, &[]),
            Shape::Tree(pieces) => (None, &[], pieces),
        };
        let of_text = text.iter().filter_map(|piece| match piece {
            TextPiece::Value(expression) => Some(expression),
            TextPiece::Literal(_) => None,
        });
        let of_tree = tree.iter().filter_map(|piece| match piece {
            Piece::Value(expression) | Piece::Inside(expression) => Some(expression),
            Piece::Raw(_) => None,
        });
        single.into_iter().chain(of_text).chain(of_tree)
    }

    /// As [`Expression::key`].
    pub(crate) fn key(&self, name: &mut dyn FnMut(&Reference) -> String) -> String {
        let raw = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
        let parts: Vec<String> = match &self.shape {
            Shape::Constant(bytes) => vec![raw(bytes)],
            Shape::Value(expression) => vec![format!("value {}", expression.key(name))],
            Shape::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    TextPiece::Literal(text) => format!("text {text:?}"),
                    TextPiece::Value(expression) => format!("inside {}", expression.key(name)),
                })
                .collect(),
            Shape::Tree(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Raw(bytes) => raw(bytes),
                    Piece::Value(expression) => format!("value {}", expression.key(name)),
                    Piece::Inside(expression) => format!("inside {}", expression.key(name)),
                })
                .collect(),
        };
        format!("{}{parts:?}", self.secrets_are_literal)
    }

    /// The expression, where the template is one `${…}` that only reads.
    pub(crate) fn single_reference(&self) -> Option<&Expression> {
        match &self.shape {
            Shape::Value(expression) => expression.single().map(|_| &**expression),
            _ => None,
        }
    }

    /// Whether it is the list that is written down, and has items; nothing where an expression gives it.
    pub(crate) fn lists_items(&self) -> Option<bool> {
        match &self.shape {
            Shape::Constant(bytes) => Some(bytes.starts_with(b"[") && &**bytes != b"[]"),
            // Something stands in it.
            Shape::Tree(_) => Some(true),
            Shape::Value(_) | Shape::Text(_) => None,
        }
    }

    /// Renders to JSON bytes. A template without expressions gives its bytes; one that is a single reference copies
    /// the slice that it names.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn render(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Vec<u8>, ExprError> {
        let mut out = Vec::new();
        self.render_into(scope, budget, &mut out)?;
        Ok(out)
    }

    /// Renders to the end of `out`; after an error `out` holds a part.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn render_into(&self, scope: &dyn Scope, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), ExprError> {
        match &self.shape {
            Shape::Constant(bytes) => out.extend_from_slice(bytes),
            Shape::Value(expression) => self.insert(expression, scope, budget, out)?,
            Shape::Text(pieces) => {
                let text = text(pieces, scope, budget)?;
                write_string(&text, out);
            }
            Shape::Tree(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Raw(bytes) => out.extend_from_slice(bytes),
                        Piece::Value(expression) => self.insert(expression, scope, budget, out)?,
                        Piece::Inside(expression) => {
                            let value = json_value(expression, scope, budget)?;
                            value.write_inside_string(out);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Renders and builds the tree (for `over`, `duration_s`, `until`, keys).
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, ExprError> {
        match &self.shape {
            Shape::Value(expression) => json_value(expression, scope, budget),
            Shape::Text(pieces) => Ok(Value::text(&text(pieces, scope, budget)?)),
            Shape::Constant(_) | Shape::Tree(_) => {
                let bytes = self.render(scope, budget)?;
                let limits = ValueLimits { bytes_max: usize::MAX, depth_max: 256 };
                parse(&bytes, &limits).map_err(|error| ExprError::new(fault(error.message), "", budget))
            }
        }
    }

    /// Renders a URL: inserted values are percent-encoded (RFC 3986, all but unreserved characters).
    ///
    /// # Errors
    /// As [`Expression::evaluate`]; also where an inserted value is null, a list or a map, or makes a `.` or `..`
    /// segment of the path.
    pub fn render_url(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<String, ExprError> {
        let Shape::Text(pieces) = &self.shape else { return Ok(self.literal_start().0.into_owned()) };
        let mut url = String::new();
        let mut inserted: Vec<(usize, &Expression)> = Vec::new();
        for piece in pieces {
            match piece {
                TextPiece::Literal(text) => url.push_str(text),
                TextPiece::Value(expression) => {
                    inserted.push((url.len(), expression));
                    let value = expression.evaluate(scope, budget)?;
                    percent_encode(&value, &mut url)
                        .map_err(|message| ExprError::new(fault(message), expression.text(), budget))?;
                }
            }
        }
        for (at, expression) in inserted {
            if makes_dot_segment(&url, at) {
                let message = "the value makes a `.` or `..` segment of the path".to_owned();
                return Err(ExprError::new(fault(message), expression.text(), budget));
            }
        }
        Ok(url)
    }

    fn insert(
        &self,
        expression: &Expression,
        scope: &dyn Scope,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<(), ExprError> {
        if let Some(reference) = expression.single()
            && !self.secrets_are_literal
        {
            let done = copy(reference, scope, budget, out);
            return done.map_err(|error| ExprError::new(error, expression.text(), budget));
        }
        let value = json_value(expression, scope, budget)?;
        if self.secrets_are_literal && names_secret(&value) {
            let message = "an expression cannot name a secret; write it down".to_owned();
            return Err(ExprError::new(fault(message), expression.text(), budget));
        }
        value.write(out);
        Ok(())
    }
}

/// Copies what a reference names.
fn copy(reference: &Reference, scope: &dyn Scope, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), Fault> {
    charge(budget, 1)?;
    match find(scope, reference) {
        Found::Nothing => out.extend_from_slice(b"null"),
        Found::Missing => return Err(missing_member(reference)),
        Found::Value(value) => value.write(out),
        Found::Raw(raw) => {
            charge(budget, copy_units(raw.len()))?;
            out.extend_from_slice(&raw);
        }
    }
    Ok(())
}

/// Evaluates to a value that JSON can hold.
fn json_value(expression: &Expression, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, ExprError> {
    let value = expression.evaluate(scope, budget)?;
    if value.is_json() {
        return Ok(value);
    }
    let message = "the result has no JSON: it is not finite, or two keys have the same text".to_owned();
    Err(ExprError::new(fault(message), expression.text(), budget))
}

fn text(pieces: &[TextPiece], scope: &dyn Scope, budget: &mut Budget) -> Result<String, ExprError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            TextPiece::Literal(literal) => text.push_str(literal),
            TextPiece::Value(expression) => {
                let part = json_value(expression, scope, budget)?.to_text();
                charge(budget, copy_units(part.len()))
                    .map_err(|error| ExprError::new(error, expression.text(), budget))?;
                text.push_str(&part);
            }
        }
    }
    Ok(text)
}

/// Whether `{"secret": …}` stands anywhere inside.
fn names_secret(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(names_secret),
        Value::Map(map) => map.member("secret").is_some() || map.entries().iter().any(|(_, value)| names_secret(value)),
        _ => false,
    }
}

/// Appends a value to a URL so that it is data wherever it stands.
pub(crate) fn percent_encode(value: &Value, url: &mut String) -> Result<(), String> {
    if matches!(value, Value::Null | Value::List(_) | Value::Map(_)) {
        return Err(format!("{} has no place in a URL", value.type_name()));
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value.to_text().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(HEX[usize::from(byte >> 4)]));
            url.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Ok(())
}

/// Whether the path segment around a byte of a URL is `.` or `..`, also when written `%2e`.
fn makes_dot_segment(url: &str, at: usize) -> bool {
    let path_end = url.find(['?', '#']).unwrap_or(url.len());
    if at > path_end {
        return false;
    }
    let from = url[..at].rfind(['/', '\\']).map_or(0, |slash| slash + 1);
    let to = url[at..path_end].find(['/', '\\']).map_or(path_end, |slash| at + slash);
    let segment = url[from..to].to_ascii_lowercase().replace("%2e", ".");
    segment == "." || segment == ".."
}
