//! Reading a definition field by field: every fault is noted with its place, and reading goes on.

use crate::diagnostics::{Diagnostic, nearest};
use crate::expressions::{Expression, Refusal, Template, TemplateCompiler};
use crate::limits::Limits;
use crate::value::scan::{At, Document, Kind, push_token};
use std::borrow::Cow;

/// The longest duration, 100 years: far above use, far below the end of int64 nanoseconds.
const SECONDS_MAX: f64 = 3_155_760_000.0;

/// Names compared for hints in one compilation; keeps a document full of mistakes linear.
const COMPARISONS_MAX: usize = 500_000;

/// A fault and the slot that it is about.
struct Noted {
    at: At,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

/// A document being read.
pub(crate) struct Reader<'a, 'l> {
    pub(crate) document: Document<'a>,
    pub(crate) limits: &'l Limits,
    noted: Vec<Noted>,
    comparisons: usize,
}

/// What an absent or wrong template is read as, so that reading goes on.
pub(crate) fn nothing() -> Template {
    Template::literal(b"null".to_vec())
}

impl<'a, 'l> Reader<'a, 'l> {
    pub(crate) fn new(document: Document<'a>, limits: &'l Limits) -> Self {
        Self { document, limits, noted: Vec::new(), comparisons: 0 }
    }

    /// Notes a fault.
    pub(crate) fn note(&mut self, at: At, code: &'static str, message: impl Into<String>) {
        self.noted.push(Noted { at, code, message: message.into(), hint: None });
    }

    /// Notes a fault with what to do about it.
    pub(crate) fn note_hint(&mut self, at: At, code: &'static str, message: impl Into<String>, hint: Option<String>) {
        self.noted.push(Noted { at, code, message: message.into(), hint });
    }

    pub(crate) fn is_faultless(&self) -> bool {
        self.noted.is_empty()
    }

    /// "did you mean …", while the number of comparisons allows it.
    pub(crate) fn near<'n>(&mut self, name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
        let left = COMPARISONS_MAX.saturating_sub(self.comparisons);
        let mut seen = 0;
        let near = nearest(name, known.take(left).inspect(|_| seen += 1));
        self.comparisons += seen;
        near.map(|near| format!("did you mean {near:?}?"))
    }

    /// What was found, in document order.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.noted.sort_by_key(|noted| noted.at);
        let most = self.limits.diagnostics_max.max(1);
        let more = self.noted.len().saturating_sub(most);
        self.noted.truncate(most);
        let places: Vec<At> = self.noted.iter().map(|noted| noted.at).collect();
        let mut out: Vec<Diagnostic> = self
            .noted
            .into_iter()
            .zip(pointers(&self.document, &places))
            .map(|(noted, pointer)| Diagnostic { code: noted.code, pointer, message: noted.message, hint: noted.hint })
            .collect();
        if more > 0 {
            out.push(Diagnostic {
                code: "LIMIT_EXCEEDED",
                pointer: String::new(),
                message: format!("{more} more faults are not listed"),
                hint: None,
            });
        }
        out
    }

    /// The values of the members named, in the order of `names`; any other member is noted, and so is anything that
    /// is no object.
    pub(crate) fn fields<const N: usize>(&mut self, at: At, what: &str, names: [&'static str; N]) -> [Option<At>; N] {
        let mut found = [None; N];
        if self.document.kind(at) != Kind::Object {
            self.wrong_type(at, what, "an object");
            return found;
        }
        let end = self.document.slot(at).next;
        let mut key = at + 1;
        while key < end {
            let name = self.document.string(key);
            match names.iter().position(|known| *known == name) {
                Some(place) => found[place] = Some(key + 1),
                None => {
                    let near = self.near(&name, names.iter().copied());
                    let hint = near.or_else(|| Some(format!("known here: {}", names.join(", "))));
                    self.note_hint(key, "UNKNOWN_FIELD", format!("{what} has no field {:?}", clip(&name)), hint);
                }
            }
            key = self.document.slot(key + 1).next;
        }
        found
    }

    pub(crate) fn wrong_type(&mut self, at: At, what: &str, wanted: &str) {
        let have = match self.document.kind(at) {
            Kind::Null => "null",
            Kind::True | Kind::False => "a truth value",
            Kind::Int | Kind::Double => "a number",
            Kind::String | Kind::Key => "a string",
            Kind::Array => "a list",
            Kind::Object => "an object",
        };
        self.note(at, "WRONG_TYPE", format!("{what} must be {wanted}, not {have}"));
    }

    /// A field that must be there.
    pub(crate) fn required(&mut self, field: Option<At>, holder: At, what: &str, name: &str) -> Option<At> {
        if field.is_none() && self.document.kind(holder) == Kind::Object {
            self.note(holder, "MISSING_FIELD", format!("{what} needs the field {name:?}"));
        }
        field
    }

    /// Notes that neither of two fields is there.
    pub(crate) fn either(&mut self, holder: At, what: &str, one: &str, other: &str) {
        if self.document.kind(holder) == Kind::Object {
            self.note(holder, "MISSING_FIELD", format!("{what} needs the field {one:?} or {other:?}"));
        }
    }

    pub(crate) fn string(&mut self, at: At, what: &str) -> Option<Cow<'a, str>> {
        if self.document.kind(at) == Kind::String {
            return Some(self.document.string(at));
        }
        self.wrong_type(at, what, "a string");
        None
    }

    /// A string that is used as it is: not empty, and without expressions.
    pub(crate) fn name(&mut self, at: At, what: &str) -> Option<Box<str>> {
        let text = self.string(at, what)?;
        if text.is_empty() || text.len() > 256 {
            self.note(at, "BAD_VALUE", format!("{what} must have 1 to 256 bytes"));
            return None;
        }
        if text.contains("${") {
            self.note(at, "BAD_VALUE", format!("{what} must be plain text, without expressions"));
            return None;
        }
        Some(text.into())
    }

    pub(crate) fn boolean(&mut self, at: At, what: &str) -> Option<bool> {
        match self.document.kind(at) {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => {
                self.wrong_type(at, what, "true or false");
                None
            }
        }
    }

    /// A number from `least` to `most`.
    pub(crate) fn number(&mut self, at: At, what: &str, least: f64, most: f64) -> Option<f64> {
        if !matches!(self.document.kind(at), Kind::Int | Kind::Double) {
            self.wrong_type(at, what, "a number");
            return None;
        }
        let value: f64 = self.document.raw(at).parse().unwrap_or(f64::NAN);
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.note(at, "BAD_VALUE", format!("{what} must be a number from {least} to {most}"));
        None
    }

    /// An integer from `least` to `most`.
    pub(crate) fn integer(&mut self, at: At, what: &str, least: u32, most: u32) -> Option<u32> {
        if self.document.kind(at) != Kind::Int {
            self.wrong_type(at, what, "an integer");
            return None;
        }
        let value = self.document.raw(at).parse().ok().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            self.note(at, "BAD_VALUE", format!("{what} must be from {least} to {most}"));
        }
        value
    }

    /// A duration in seconds, as ns.
    pub(crate) fn seconds(&mut self, at: At, what: &str, zero: bool) -> Option<i64> {
        let value = self.number(at, what, 0.0, SECONDS_MAX)?;
        if value == 0.0 && !zero {
            self.note(at, "BAD_VALUE", format!("{what} must be more than 0"));
            return None;
        }
        Some(nanoseconds(value))
    }

    /// One of the words known, by its place.
    pub(crate) fn word(&mut self, at: At, what: &str, words: &[&str]) -> Option<usize> {
        let text = self.string(at, what)?;
        let place = words.iter().position(|word| *word == text);
        if place.is_none() {
            let near = self.near(&text, words.iter().copied());
            let message = format!("{what} must be one of {}, not {:?}", words.join(", "), clip(&text));
            self.note_hint(at, "BAD_VALUE", message, near);
        }
        place
    }

    /// A list of plain strings.
    pub(crate) fn names(&mut self, at: At, what: &str) -> Box<[Box<str>]> {
        self.elements(at, what).into_iter().filter_map(|element| self.name(element, what)).collect()
    }

    /// The elements of a list.
    pub(crate) fn elements(&mut self, at: At, what: &str) -> Vec<At> {
        if self.document.kind(at) != Kind::Array {
            self.wrong_type(at, what, "a list");
            return Vec::new();
        }
        self.document.elements(at).collect()
    }

    /// An expression that is the whole string.
    pub(crate) fn expression(&mut self, at: At, what: &str) -> Option<Expression> {
        let text = self.string(at, what)?;
        match Expression::compile(&text, &self.limits.expression) {
            Ok(expression) => {
                if let Some(literal) = expression.literal()
                    && !matches!(literal, crate::value::Value::Bool(_) | crate::value::Value::Null)
                {
                    let message = format!("{what} must be true or false, this is {}", literal.type_name());
                    self.note(at, "BAD_EXPRESSION", message);
                }
                Some(expression)
            }
            Err(mut refusal) => {
                if text.contains("${") {
                    refusal.hint = Some(format!("{what} is an expression as a whole: write it without `${{` and `}}`"));
                }
                self.refused(at, refusal);
                None
            }
        }
    }

    /// A value with expressions inside.
    pub(crate) fn template(&mut self, at: At) -> Template {
        self.templated(|compiler, document| compiler.compile(document, at))
    }

    /// A template for a string: a constant one or one with expressions.
    pub(crate) fn text_template(&mut self, at: At, what: &str) -> Template {
        if self.document.kind(at) != Kind::String {
            self.wrong_type(at, what, "a string");
            return nothing();
        }
        self.template(at)
    }

    /// A template by another way of the compiler's.
    pub(crate) fn templated(
        &mut self,
        make: impl FnOnce(&mut TemplateCompiler<'_>, &Document<'a>) -> Template,
    ) -> Template {
        let mut compiler = TemplateCompiler { limits: &self.limits.expression, faults: Vec::new() };
        let template = make(&mut compiler, &self.document);
        for (at, refusal) in compiler.faults {
            self.refused(at, refusal);
        }
        template
    }

    fn refused(&mut self, at: At, refusal: Refusal) {
        let message = format!("{} (byte {} of the string)", refusal.message, refusal.offset);
        self.note_hint(at, refusal.code, message, refusal.hint);
    }
}

/// Seconds as ns, rounded.
pub(crate) fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// The start of a text, for messages.
pub(crate) fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The pointers of slots, given in document order, in one walk.
pub(crate) fn pointers(document: &Document<'_>, places: &[At]) -> Vec<String> {
    /// An open array or object: where it ends, the next slot in it, the next index, the length of its pointer.
    struct Open {
        end: At,
        next: At,
        index: Option<usize>,
        length: usize,
    }
    let enter = |at: At, length: usize| {
        let slot = document.slot(at);
        let index = (slot.kind == Kind::Array).then_some(0);
        Open { end: slot.next, next: at + 1, index, length }
    };
    let mut out = Vec::with_capacity(places.len());
    let mut pointer = String::new();
    let mut open: Vec<Open> = vec![enter(0, 0)];
    'places: for &place in places {
        if place == 0 {
            out.push(String::new());
            continue;
        }
        while let Some(inner) = open.last_mut() {
            if place >= inner.end {
                open.pop();
                continue;
            }
            // Whole children before the place are stepped over.
            let child = inner.next;
            let (value, after) = match inner.index {
                Some(_) => (child, document.slot(child).next),
                None => (child + 1, document.slot(child + 1).next),
            };
            if place >= after {
                inner.next = after;
                inner.index = inner.index.map(|index| index + 1);
                continue;
            }
            pointer.truncate(inner.length);
            match inner.index {
                Some(index) => {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                }
                None => push_token(&mut pointer, &document.string(child)),
            }
            if place <= value {
                out.push(pointer.clone());
                continue 'places;
            }
            let length = pointer.len();
            open.push(enter(value, length));
        }
        out.push(String::new());
    }
    out
}
