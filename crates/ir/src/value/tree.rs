//! The tree of a value, built only while an expression looks into it.

use super::canonical::{by_name, write_double, write_escaped, write_string};
use super::scan::{At, Document, Kind};
use crate::expressions::time;
use std::borrow::Cow;
use std::sync::Arc;

/// A value while an expression looks at it.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`
    Null,
    /// A truth value.
    Bool(bool),
    /// An exact integer.
    Int(i64),
    /// Any other number; finite when it comes from or goes to JSON.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map in insertion order.
    Map(Arc<Map>),
    /// An instant, ns since 1970 (CEL `timestamp`); RFC 3339 text in JSON.
    Timestamp(i128),
    /// A span, ns (CEL `duration`); seconds with the unit, `1.5s`, in JSON.
    Duration(i64),
    /// A type (CEL `type(x)`); its name in JSON.
    Type(&'static str),
}

/// Maps with more entries than this get an index.
const LINEAR_MAX: usize = 8;

/// A map in insertion order. Keys are strings, integers or truth values.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Value, Value)>,
    /// Places of the entries in the order of their keys; empty for a small map.
    index: Vec<u32>,
}

impl Map {
    /// A map of these entries; `None` where a key stands twice or is no key.
    #[must_use]
    pub fn new(entries: Vec<(Value, Value)>) -> Option<Self> {
        if !entries.iter().all(|(key, _)| matches!(key, Value::String(_) | Value::Int(_) | Value::Bool(_))) {
            return None;
        }
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| key_order(&entries[a as usize].0, &entries[b as usize].0));
        let twice = order.windows(2).any(|pair| {
            key_order(&entries[pair[0] as usize].0, &entries[pair[1] as usize].0) == std::cmp::Ordering::Equal
        });
        (!twice).then(|| Self::indexed(entries, order))
    }

    fn indexed(entries: Vec<(Value, Value)>, order: Vec<u32>) -> Self {
        Self { index: if entries.len() > LINEAR_MAX { order } else { Vec::new() }, entries }
    }

    /// The entries in insertion order.
    #[must_use]
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// The value under a key. A double that is a whole number finds the integer.
    #[must_use]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let whole;
        let key = match key {
            Value::Double(number) => {
                whole = Value::Int(whole_number(*number)?);
                &whole
            }
            key => key,
        };
        if self.index.is_empty() {
            return self.entries.iter().find(|(have, _)| key_order(have, key).is_eq()).map(|(_, value)| value);
        }
        let place = self.index.binary_search_by(|&at| key_order(&self.entries[at as usize].0, key)).ok()?;
        Some(&self.entries[self.index[place] as usize].1)
    }

    /// The value under a member name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        let same = |key: &Value| matches!(key, Value::String(text) if **text == *name);
        if self.index.is_empty() {
            return self.entries.iter().find(|(key, _)| same(key)).map(|(_, value)| value);
        }
        let place = self.index.binary_search_by(|&at| match &self.entries[at as usize].0 {
            Value::String(text) => (**text).cmp(name),
            other => rank(other).cmp(&STRING_RANK),
        });
        place.ok().map(|place| &self.entries[self.index[place] as usize].1)
    }

    /// Where a key stands in the index, or where it would.
    fn indexed_at(&self, key: &Value) -> Result<usize, usize> {
        self.index.binary_search_by(|&at| key_order(&self.entries[at as usize].0, key))
    }

    /// Where a member stands.
    fn place(&self, key: &Value) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|(have, _)| key_order(have, key).is_eq());
        }
        self.indexed_at(key).ok().map(|place| self.index[place] as usize)
    }

    /// The value under a member name, to change it.
    pub(crate) fn member_mut(&mut self, name: &str) -> Option<&mut Value> {
        let place = self.place(&Value::text(name))?;
        Some(&mut self.entries[place].1)
    }

    /// Sets a member: in its place where it is there already, else at the end.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        let key = Value::text(name);
        if let Some(place) = self.place(&key) {
            self.entries[place].1 = value;
            return;
        }
        let at = self.entries.len() as u32;
        if !self.index.is_empty() {
            let place = self.indexed_at(&key).unwrap_or_else(|place| place);
            self.index.insert(place, at);
        }
        self.entries.push((key, value));
        if self.index.is_empty() && self.entries.len() > LINEAR_MAX {
            self.index = (0..=at).collect();
            let entries = &self.entries;
            self.index.sort_unstable_by(|&a, &b| key_order(&entries[a as usize].0, &entries[b as usize].0));
        }
    }

    /// Takes a member out; the others keep their order.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.place(&Value::text(name))?;
        self.index.retain(|&place| place as usize != at);
        self.index.iter_mut().filter(|place| **place as usize > at).for_each(|place| *place -= 1);
        Some(self.entries.remove(at).1)
    }
}

/// The integer that a double is, if it is one.
pub(crate) fn whole_number(number: f64) -> Option<i64> {
    // 2^63 is exact as a double; the largest double below it is inside int64.
    ((-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) && number.fract() == 0.0)
        .then_some(number as i64)
}

const STRING_RANK: u8 = 2;

fn rank(key: &Value) -> u8 {
    match key {
        Value::Bool(_) => 0,
        Value::Int(_) => 1,
        Value::String(_) => STRING_RANK,
        _ => 3,
    }
}

fn key_order(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Builds the tree at a slot. The depth of a document is limited, so the recursion is.
pub(crate) fn build(document: &Document<'_>, at: At) -> Value {
    match document.kind(at) {
        Kind::Null => Value::Null,
        Kind::True => Value::Bool(true),
        Kind::False => Value::Bool(false),
        Kind::Int => document.raw(at).parse().map_or(Value::Null, Value::Int),
        Kind::Double => document.raw(at).parse().map_or(Value::Null, Value::Double),
        Kind::String | Kind::Key => Value::String(document.string(at).into()),
        Kind::Array => Value::List(Arc::new(document.elements(at).map(|element| build(document, element)).collect())),
        Kind::Object => {
            let entries: Vec<(Value, Value)> =
                document.members(at).map(|(key, value)| (build(document, key), build(document, value))).collect();
            // The scanner refused duplicate names already.
            let mut order: Vec<u32> = Vec::new();
            if entries.len() > LINEAR_MAX {
                order.extend(0..entries.len() as u32);
                order.sort_unstable_by(|&a, &b| key_order(&entries[a as usize].0, &entries[b as usize].0));
            }
            Value::Map(Arc::new(Map::indexed(entries, order)))
        }
    }
}

impl Value {
    /// A string value.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Value::String(text.into())
    }

    /// The name of its type, as CEL has it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
        }
    }

    /// A map as it is written in JSON: `{"name": value}`.
    pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Self {
        let entries: Vec<(Value, Value)> = members.into_iter().map(|(name, value)| (Self::text(name), value)).collect();
        Value::Map(Arc::new(Map::new(entries).unwrap_or_default()))
    }

    /// A list.
    pub(crate) fn list(items: Vec<Value>) -> Self {
        Value::List(Arc::new(items))
    }

    /// The member of a map.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.member(name),
            _ => None,
        }
    }

    /// The members of a map; nothing of anything else. Names of a map that was JSON are texts.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        let entries = match self {
            Value::Map(map) => map.entries(),
            _ => &[],
        };
        entries.iter().filter_map(|(key, value)| Some((key.as_text()?, value)))
    }

    /// The items of a list; nothing of anything else.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a string.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether both are written the same: `1` and `1.0` are not, the order of members does not matter.
    pub(crate) fn is_same_json(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                Arc::ptr_eq(a, b) || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.is_same_json(b)))
            }
            (Value::Map(a), Value::Map(b)) => {
                Arc::ptr_eq(a, b)
                    || (a.entries.len() == b.entries.len()
                        && a.entries
                            .iter()
                            .all(|(key, value)| b.get(key).is_some_and(|other| value.is_same_json(other))))
            }
            _ => false,
        }
    }

    /// Where an object is in memory: two at one place are one.
    pub(crate) fn address(&self) -> Option<usize> {
        match self {
            Value::Map(map) => Some(Arc::as_ptr(map).addr()),
            _ => None,
        }
    }

    /// Writes the value as JSON; a double that is not finite has no JSON and is written as `null` (expressions
    /// refuse it before: see [`Value::is_json`]). Entries keep their order.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(false, out);
    }

    /// Writes the value as canonical JSON ([`super::canonical`]).
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        self.write_as(true, out);
    }

    fn write_as(&self, sorted: bool, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Double(number) if number.is_finite() => write_double(*number, out),
            Value::Double(_) => out.extend_from_slice(b"null"),
            Value::String(text) => write_string(text, out),
            Value::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write_as(sorted, out);
                }
                out.push(b']');
            }
            Value::Map(map) => {
                let mut entries: Vec<(Cow<'_, str>, &Value)> =
                    map.entries.iter().map(|(key, value)| (key.as_name(), value)).collect();
                if sorted {
                    entries.sort_by(|a, b| by_name(&a.0, &b.0));
                }
                out.push(b'{');
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write_string(&key, out);
                    out.push(b':');
                    value.write_as(sorted, out);
                }
                out.push(b'}');
            }
            Value::Timestamp(_) | Value::Duration(_) | Value::Type(_) => write_string(&self.to_text(), out),
        }
    }

    /// Writes the value into a string that is being written: text as it is, anything else as its JSON.
    pub(crate) fn write_inside_string(&self, out: &mut Vec<u8>) {
        write_escaped(&self.to_text(), out);
    }

    /// A key as the name of a member.
    fn as_name(&self) -> Cow<'_, str> {
        match self {
            Value::String(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_text()),
        }
    }

    /// The value as text: strings as they are, anything else as its JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Value::String(text) => (**text).to_owned(),
            Value::Timestamp(ns) => time::write_timestamp(*ns),
            Value::Duration(ns) => time::write_duration(*ns),
            Value::Type(name) => (*name).to_owned(),
            other => {
                let mut out = Vec::new();
                other.write(&mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }

    /// Whether JSON can hold it: no NaN and no infinity inside, and no two keys of a map with the same text.
    #[must_use]
    pub fn is_json(&self) -> bool {
        match self {
            Value::Double(number) => number.is_finite(),
            Value::List(items) => items.iter().all(Value::is_json),
            Value::Map(map) => {
                let mixed = map.entries.iter().any(|(key, _)| !matches!(key, Value::String(_)));
                if mixed {
                    let mut names: Vec<String> = map.entries.iter().map(|(key, _)| key.to_text()).collect();
                    names.sort_unstable();
                    if names.windows(2).any(|pair| pair[0] == pair[1]) {
                        return false;
                    }
                }
                map.entries.iter().all(|(_, value)| value.is_json())
            }
            _ => true,
        }
    }
}
