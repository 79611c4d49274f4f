//! A schema document to rules: a flat list of nodes, sub-schemas by index, so that `$ref` needs no recursion here.

use crate::document::{Reader, clip};
use crate::expressions::pattern;
use crate::value::ValueLimits;
use crate::value::scan::{At, Document, Kind, read};
use crate::value::tree::{Value, build};
use std::collections::BTreeMap;

/// A compiled schema. Rule 0 is the whole.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) rules: Vec<Rule>,
    /// Whether any rule asks for what others left unevaluated.
    pub(super) tracks: bool,
}

/// Index of a rule.
pub(super) type RuleIx = u32;

/// One schema: `true` is without keywords, `false` is [`Rule::never`].
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) never: bool,
    pub(super) types: Option<Vec<Type>>,
    pub(super) one_of_values: Option<Vec<Value>>,
    pub(super) multiple_of: Option<Value>,
    pub(super) maximum: Option<Value>,
    pub(super) exclusive_maximum: Option<Value>,
    pub(super) minimum: Option<Value>,
    pub(super) exclusive_minimum: Option<Value>,
    pub(super) max_length: Option<u64>,
    pub(super) min_length: Option<u64>,
    pub(super) pattern: Option<regex::Regex>,
    pub(super) max_items: Option<u64>,
    pub(super) min_items: Option<u64>,
    pub(super) unique_items: bool,
    pub(super) prefix_items: Vec<RuleIx>,
    pub(super) items: Option<RuleIx>,
    pub(super) contains: Option<RuleIx>,
    pub(super) max_contains: Option<u64>,
    pub(super) min_contains: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) min_properties: Option<u64>,
    pub(super) required: Vec<Box<str>>,
    pub(super) dependent_required: Vec<(Box<str>, Vec<Box<str>>)>,
    pub(super) properties: BTreeMap<Box<str>, RuleIx>,
    pub(super) pattern_properties: Vec<(regex::Regex, RuleIx)>,
    pub(super) additional_properties: Option<RuleIx>,
    pub(super) property_names: Option<RuleIx>,
    pub(super) dependent_schemas: Vec<(Box<str>, RuleIx)>,
    pub(super) all_of: Vec<RuleIx>,
    pub(super) any_of: Vec<RuleIx>,
    pub(super) one_of: Vec<RuleIx>,
    pub(super) not: Option<RuleIx>,
    pub(super) condition: Option<RuleIx>,
    pub(super) then: Option<RuleIx>,
    pub(super) otherwise: Option<RuleIx>,
    pub(super) reference: Option<RuleIx>,
    pub(super) unevaluated_items: Option<RuleIx>,
    pub(super) unevaluated_properties: Option<RuleIx>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Object,
    Array,
    Number,
    String,
    Integer,
}

pub(super) const TYPES: [(&str, Type); 7] = [
    ("null", Type::Null),
    ("boolean", Type::Boolean),
    ("object", Type::Object),
    ("array", Type::Array),
    ("number", Type::Number),
    ("string", Type::String),
    ("integer", Type::Integer),
];

/// The only dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Notes what is wrong with the schema at a slot.
pub(crate) fn check(reader: &mut Reader<'_, '_>, at: At) {
    let mut faults = Vec::new();
    compile(&reader.document, at, &mut faults);
    for (at, message) in faults {
        reader.note(at, "BAD_SCHEMA", message);
    }
}

/// The properties that inputs can have, where the schema allows no others.
pub(crate) fn closed_properties(document: &Document<'_>, at: At) -> Option<Vec<String>> {
    let (mut closed, mut properties) = (false, None);
    for (key, value) in document.members(at) {
        match &*document.string(key) {
            "additionalProperties" => closed = document.kind(value) == Kind::False,
            "properties" if document.kind(value) == Kind::Object => {
                properties = Some(document.members(value).map(|(key, _)| document.string(key).into_owned()).collect());
            }
            "patternProperties" => return None,
            _ => {}
        }
    }
    properties.filter(|_| closed)
}

impl Schema {
    /// Compiles the canonical bytes of a schema that was checked.
    pub(crate) fn of_canonical(bytes: &[u8]) -> Self {
        let limits = ValueLimits { bytes_max: usize::MAX, depth_max: 256 };
        match read(bytes, &limits) {
            Ok(document) => compile(&document, 0, &mut Vec::new()),
            // Checked bytes are JSON; were they not, nothing would be valid.
            Err(_) => Self { rules: vec![Rule { never: true, ..Rule::default() }], tracks: false },
        }
    }
}

struct Compiler<'d, 'a, 'f> {
    document: &'d Document<'a>,
    root: At,
    rules: BTreeMap<At, RuleIx>,
    waiting: Vec<At>,
    anchors: BTreeMap<String, At>,
    faults: &'f mut Vec<(At, String)>,
    tracks: bool,
}

fn compile(document: &Document<'_>, at: At, faults: &mut Vec<(At, String)>) -> Schema {
    let mut compiler = Compiler {
        document,
        root: at,
        rules: BTreeMap::new(),
        waiting: Vec::new(),
        anchors: BTreeMap::new(),
        faults,
        tracks: false,
    };
    compiler.find_anchors();
    compiler.rule(at);
    let mut rules = Vec::new();
    let mut next = 0;
    while let Some(&at) = compiler.waiting.get(next) {
        next += 1;
        rules.push(compiler.read(at));
    }
    Schema { rules, tracks: compiler.tracks }
}

impl Compiler<'_, '_, '_> {
    /// The rule of the schema at a slot; read later if it is new.
    fn rule(&mut self, at: At) -> RuleIx {
        let next = self.waiting.len() as RuleIx;
        let ix = *self.rules.entry(at).or_insert(next);
        if ix == next {
            self.waiting.push(at);
        }
        ix
    }

    fn fault(&mut self, at: At, message: impl Into<String>) {
        self.faults.push((at, message.into()));
    }

    /// Anchors anywhere in the schema; one inside `const` or `enum` is data and can do no harm.
    fn find_anchors(&mut self) {
        let document = self.document;
        let mut open: Vec<At> = Vec::new();
        for at in self.root..document.slot(self.root).next {
            while open.last().is_some_and(|&holder| document.slot(holder).next <= at) {
                open.pop();
            }
            match document.kind(at) {
                Kind::Object => open.push(at),
                Kind::Key if document.raw(at) == "\"$anchor\"" && document.kind(at + 1) == Kind::String => {
                    let name = document.string(at + 1).into_owned();
                    open.last().map(|&holder| self.anchors.entry(name).or_insert(holder));
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, at: At) -> Rule {
        let document = self.document;
        let mut rule = Rule::default();
        match document.kind(at) {
            Kind::True => return rule,
            Kind::False => return Rule { never: true, ..rule },
            Kind::Object => {}
            _ => {
                self.fault(at, "a schema must be an object, true or false");
                return rule;
            }
        }
        for (key, value) in document.members(at) {
            let name = document.string(key);
            match &*name {
                "type" => rule.types = self.types(value),
                "enum" => rule.one_of_values = Some(self.list(value).map(|at| build(document, at)).collect()),
                "const" => rule.one_of_values = Some(vec![build(document, value)]),
                "multipleOf" => {
                    rule.multiple_of = self.number(value);
                    let positive = match rule.multiple_of {
                        Some(Value::Int(number)) => number > 0,
                        Some(Value::Double(number)) => number > 0.0,
                        _ => true,
                    };
                    if !positive {
                        self.fault(value, "multipleOf must be more than 0");
                        rule.multiple_of = None;
                    }
                }
                "maximum" => rule.maximum = self.number(value),
                "exclusiveMaximum" => rule.exclusive_maximum = self.number(value),
                "minimum" => rule.minimum = self.number(value),
                "exclusiveMinimum" => rule.exclusive_minimum = self.number(value),
                "maxLength" => rule.max_length = self.count(value),
                "minLength" => rule.min_length = self.count(value),
                "maxItems" => rule.max_items = self.count(value),
                "minItems" => rule.min_items = self.count(value),
                "maxContains" => rule.max_contains = self.count(value),
                "minContains" => rule.min_contains = self.count(value),
                "maxProperties" => rule.max_properties = self.count(value),
                "minProperties" => rule.min_properties = self.count(value),
                "pattern" => rule.pattern = self.string(value).and_then(|text| self.pattern(value, &text)),
                "uniqueItems" => match document.kind(value) {
                    Kind::True => rule.unique_items = true,
                    Kind::False => {}
                    _ => self.fault(value, "uniqueItems must be true or false"),
                },
                "prefixItems" => rule.prefix_items = self.schemas(value),
                "items" => rule.items = Some(self.rule(value)),
                "contains" => rule.contains = Some(self.rule(value)),
                "required" => rule.required = self.strings(value),
                "dependentRequired" => {
                    rule.dependent_required =
                        self.members(value).map(|(key, value)| (key, self.strings(value))).collect();
                }
                "properties" => {
                    rule.properties = self.members(value).map(|(key, value)| (key, self.rule(value))).collect();
                }
                "patternProperties" => {
                    for (key, value) in self.members(value) {
                        let ix = self.rule(value);
                        rule.pattern_properties.extend(self.pattern(value - 1, &key).map(|pattern| (pattern, ix)));
                    }
                }
                "additionalProperties" => rule.additional_properties = Some(self.rule(value)),
                "propertyNames" => rule.property_names = Some(self.rule(value)),
                "dependentSchemas" => {
                    rule.dependent_schemas = self.members(value).map(|(key, value)| (key, self.rule(value))).collect();
                }
                "allOf" => rule.all_of = self.schemas(value),
                "anyOf" => rule.any_of = self.schemas(value),
                "oneOf" => rule.one_of = self.schemas(value),
                "not" => rule.not = Some(self.rule(value)),
                "if" => rule.condition = Some(self.rule(value)),
                "then" => rule.then = Some(self.rule(value)),
                "else" => rule.otherwise = Some(self.rule(value)),
                "$ref" => rule.reference = self.reference(value),
                "$defs" => self.members(value).for_each(|(_, value)| {
                    self.rule(value);
                }),
                "unevaluatedItems" => {
                    rule.unevaluated_items = Some(self.rule(value));
                    self.tracks = true;
                }
                "unevaluatedProperties" => {
                    rule.unevaluated_properties = Some(self.rule(value));
                    self.tracks = true;
                }
                "$schema" => {
                    let dialect = self.string(value);
                    if dialect.is_some_and(|dialect| dialect.trim_end_matches('#') != DIALECT) {
                        self.fault(value, format!("the only dialect is {DIALECT}"));
                    }
                }
                "$id" if at == self.root => {
                    self.string(value);
                }
                "$id" => self.fault(key, "`$id` inside a schema is not supported: references are local"),
                "$dynamicRef" | "$dynamicAnchor" => {
                    self.fault(key, format!("`{name}` is not supported; use `$ref`"));
                }
                // Annotations, and keywords of vocabularies that the standard says to pass over.
                _ => {}
            }
        }
        rule
    }

    fn types(&mut self, at: At) -> Option<Vec<Type>> {
        let document = self.document;
        let names: Vec<At> = match document.kind(at) {
            Kind::Array => document.elements(at).collect(),
            _ => vec![at],
        };
        let mut types = Vec::new();
        for at in names {
            let known = (document.kind(at) == Kind::String)
                .then(|| TYPES.iter().find(|(name, _)| *name == document.string(at)))
                .flatten();
            match known {
                Some((_, known)) => types.push(*known),
                None => {
                    let known = TYPES.map(|(name, _)| name).join(", ");
                    self.fault(at, format!("a type must be one of {known}"));
                }
            }
        }
        Some(types)
    }

    fn list(&mut self, at: At) -> impl Iterator<Item = At> + use<> {
        let mut items = Vec::new();
        if self.document.kind(at) == Kind::Array {
            items = self.document.elements(at).collect();
        } else {
            self.fault(at, "must be a list");
        }
        items.into_iter()
    }

    fn members(&mut self, at: At) -> impl Iterator<Item = (Box<str>, At)> + use<> {
        let mut members = Vec::new();
        if self.document.kind(at) == Kind::Object {
            let document = self.document;
            members = document.members(at).map(|(key, value)| (document.string(key).into(), value)).collect();
        } else {
            self.fault(at, "must be an object");
        }
        members.into_iter()
    }

    fn schemas(&mut self, at: At) -> Vec<RuleIx> {
        let items: Vec<At> = self.list(at).collect();
        if items.is_empty() && self.document.kind(at) == Kind::Array {
            self.fault(at, "the list must hold at least one schema");
        }
        items.into_iter().map(|at| self.rule(at)).collect()
    }

    fn strings(&mut self, at: At) -> Vec<Box<str>> {
        let items: Vec<At> = self.list(at).collect();
        items.into_iter().filter_map(|at| self.string(at)).map(Into::into).collect()
    }

    fn string(&mut self, at: At) -> Option<String> {
        if self.document.kind(at) == Kind::String {
            return Some(self.document.string(at).into_owned());
        }
        self.fault(at, "must be a string");
        None
    }

    fn number(&mut self, at: At) -> Option<Value> {
        if matches!(self.document.kind(at), Kind::Int | Kind::Double) {
            return Some(build(self.document, at));
        }
        self.fault(at, "must be a number");
        None
    }

    fn count(&mut self, at: At) -> Option<u64> {
        let count = match build(self.document, at) {
            Value::Int(count) => u64::try_from(count).ok(),
            Value::Double(count) => crate::value::tree::whole_number(count).and_then(|count| count.try_into().ok()),
            _ => None,
        };
        if count.is_none() {
            self.fault(at, "must be a whole number, 0 or more");
        }
        count
    }

    fn pattern(&mut self, at: At, text: &str) -> Option<regex::Regex> {
        match pattern(&linear(text)) {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                self.fault(at, message);
                None
            }
        }
    }

    /// `#`, `#/pointer` (RFC 6901, percent-encoded as a fragment) or `#anchor`.
    fn reference(&mut self, at: At) -> Option<RuleIx> {
        let text = self.string(at)?;
        let target = text.strip_prefix('#').and_then(|fragment| {
            let fragment = percent_decode(fragment)?;
            if fragment.is_empty() {
                return Some(self.root);
            }
            match fragment.strip_prefix('/') {
                Some(pointer) => self.find(pointer),
                None => self.anchors.get(&fragment).copied(),
            }
        });
        match target {
            Some(target) => Some(self.rule(target)),
            None => {
                let reason = if text.starts_with('#') { "leads nowhere" } else { "is not local" };
                self.fault(at, format!("the reference {:?} {reason}", clip(&text)));
                None
            }
        }
    }

    fn find(&self, pointer: &str) -> Option<At> {
        let document = self.document;
        pointer.split('/').try_fold(self.root, |at, token| {
            let token = token.replace("~1", "/").replace("~0", "~");
            match document.kind(at) {
                Kind::Object => {
                    document.members(at).find(|(key, _)| document.string(*key) == token).map(|(_, value)| value)
                }
                Kind::Array => document.elements(at).nth(token.parse().ok()?),
                _ => None,
            }
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// A pattern of ECMA-262 in the syntax of the linear engine, where they differ: `\d`, `\w` and `\s` are ASCII (and
/// `\s` some more), `$` is the very end, `\cX` is a control character, `\/` a slash.
fn linear(text: &str) -> String {
    const SPACE: &str =
        r"\t\n\x0b\x0c\r \u{a0}\u{feff}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') if in_class => out.push_str("0-9"),
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') if in_class => out.push_str("A-Za-z0-9_"),
                Some('w') => out.push_str("[A-Za-z0-9_]"),
                Some('W') => out.push_str("[^A-Za-z0-9_]"),
                Some('s') if in_class => out.push_str(SPACE),
                Some('s') => {
                    out.push('[');
                    out.push_str(SPACE);
                    out.push(']');
                }
                Some('S') => {
                    out.push_str("[^");
                    out.push_str(SPACE);
                    out.push(']');
                }
                Some('/') => out.push('/'),
                Some('c') => match chars.next() {
                    Some(letter) if letter.is_ascii_alphabetic() => {
                        out.push_str(&format!("\\x{:02x}", letter.to_ascii_uppercase() as u32 % 32));
                    }
                    other => {
                        out.push_str("\\c");
                        out.extend(other);
                    }
                },
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '$' if !in_class => out.push_str("\\z"),
            '&' | '~' | '-' if in_class && chars.peek() == Some(&c) && c != '-' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
