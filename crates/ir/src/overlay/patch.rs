//! JSON Patch (RFC 6902): operations on a document, all or none.

use super::pointer::{Index, Pointer, PointerError, index};
use crate::expressions::number_order;
use crate::value::{Value, ValueLimits, parse};
use std::sync::Arc;

/// How large a patch may be, and how much work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchLimits {
    /// Bytes of the patch as sent.
    pub bytes_max: usize,
    /// Operations.
    pub operations_max: usize,
    /// Nesting of the patch, and of the document after each operation.
    pub depth_max: usize,
    /// Values, and bytes of their texts, that all `copy` and `move` operations together may carry. A document that is
    /// copied into itself doubles each time.
    pub carried_max: usize,
}

impl Default for PatchLimits {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, operations_max: 1_000, depth_max: 64, carried_max: 4 << 20 }
    }
}

/// An operation that was read.
#[derive(Debug, Clone)]
pub struct PatchOperation {
    /// Where it applies.
    pub path: Pointer,
    /// What it does there.
    pub action: Action,
}

/// What an operation of RFC 6902 does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Puts a value: into an object, between the elements of an array, or as the whole document.
    Add(Value),
    /// Takes the value away.
    Remove,
    /// Puts another value in its place.
    Replace(Value),
    /// Takes the value from there and adds it.
    Move(Pointer),
    /// Adds the value that stands there.
    Copy(Pointer),
    /// Goes on only where the value is equal: numbers as numbers, objects in any order.
    Test(Value),
}

/// Why a patch is none, or does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchError {
    /// `BAD_JSON`, `BAD_PATCH`, `POINTER_NOT_FOUND`, `TEST_FAILED` or `LIMIT_EXCEEDED`.
    pub code: &'static str,
    /// Which operation, from 0; `None` is the patch as a whole.
    pub operation: Option<usize>,
    /// JSON pointer into the patch.
    pub pointer: String,
    /// One sentence for people.
    pub message: String,
}

/// A patch: its operations apply in order, and none where one fails.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// Its operations.
    pub operations: Vec<PatchOperation>,
}

impl Patch {
    /// Reads a patch document. Members that RFC 6902 does not name are ignored (its section 4); a member that stands
    /// twice is refused.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(bytes: &[u8], limits: &PatchLimits) -> Result<Self, PatchError> {
        let json = ValueLimits { bytes_max: limits.bytes_max, depth_max: limits.depth_max };
        let document = parse(bytes, &json).map_err(|error| PatchError {
            code: error.code,
            operation: None,
            pointer: error.pointer,
            message: error.message,
        })?;
        let Value::List(operations) = &document else {
            return Err(whole("BAD_PATCH", "a JSON Patch is a list of operations".to_owned()));
        };
        if operations.len() > limits.operations_max {
            let message = format!("{} operations are more than {}", operations.len(), limits.operations_max);
            return Err(whole("LIMIT_EXCEEDED", message));
        }
        let read = |(at, operation)| read_operation(operation).map_err(|(member, message)| bad(at, member, message));
        Ok(Self { operations: operations.iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// The document after the patch.
    ///
    /// # Errors
    /// The first operation that does not apply.
    pub fn apply(&self, document: &Value, limits: &PatchLimits) -> Result<Value, PatchError> {
        let mut editor = Editor { document: document.clone(), limits, carried: 0 };
        for (at, operation) in self.operations.iter().enumerate() {
            editor.apply(operation).map_err(|fault| PatchError {
                code: fault.code,
                operation: Some(at),
                pointer: format!("/{at}/{}", fault.member),
                message: fault.message,
            })?;
        }
        Ok(editor.document)
    }

    /// The patch as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let operation = |operation: &PatchOperation| {
            let path = ("path", Value::text(&operation.path.to_string()));
            let with = |name: &str, member: &str, value: Value| {
                Value::object([("op", Value::text(name)), path.clone(), (member, value)])
            };
            match &operation.action {
                Action::Add(value) => with("add", "value", value.clone()),
                Action::Remove => Value::object([("op", Value::text("remove")), path.clone()]),
                Action::Replace(value) => with("replace", "value", value.clone()),
                Action::Move(from) => with("move", "from", Value::text(&from.to_string())),
                Action::Copy(from) => with("copy", "from", Value::text(&from.to_string())),
                Action::Test(value) => with("test", "value", value.clone()),
            }
        };
        Value::list(self.operations.iter().map(operation).collect())
    }
}

fn whole(code: &'static str, message: String) -> PatchError {
    PatchError { code, operation: None, pointer: String::new(), message }
}

fn bad(at: usize, member: &str, message: String) -> PatchError {
    let pointer = if member.is_empty() { format!("/{at}") } else { format!("/{at}/{member}") };
    PatchError { code: "BAD_PATCH", operation: Some(at), pointer, message }
}

/// Reads an operation; a fault is the member it is about and a sentence.
fn read_operation(operation: &Value) -> Result<PatchOperation, (&'static str, String)> {
    if !matches!(operation, Value::Map(_)) {
        return Err(("", "an operation is an object".to_owned()));
    }
    let pointer = |member: &'static str| match operation.member(member) {
        Some(Value::String(text)) => Pointer::parse(text).map_err(|error| (member, error.message)),
        Some(_) => Err((member, format!("{member:?} must be a JSON Pointer in a string"))),
        None => Err(("", format!("the operation needs the member {member:?}"))),
    };
    let value = || match operation.member("value") {
        Some(value) => Ok(value.clone()),
        None => Err(("", "the operation needs the member \"value\"".to_owned())),
    };
    let Some(name) = operation.member("op") else {
        return Err(("", "an operation needs the member \"op\"".to_owned()));
    };
    let path = pointer("path")?;
    let action = match name.as_text() {
        Some("add") => Action::Add(value()?),
        Some("remove") => Action::Remove,
        Some("replace") => Action::Replace(value()?),
        Some("move") => Action::Move(pointer("from")?),
        Some("copy") => Action::Copy(pointer("from")?),
        Some("test") => Action::Test(value()?),
        _ => return Err(("op", "\"op\" must be one of add, remove, replace, move, copy, test".to_owned())),
    };
    Ok(PatchOperation { path, action })
}

/// What is wrong with an operation where it is applied: the member it is about.
struct Fault {
    code: &'static str,
    member: &'static str,
    message: String,
}

/// Names the member of an operation that holds the pointer.
fn at(member: &'static str) -> impl Fn(PointerError) -> Fault {
    move |error| Fault { code: "POINTER_NOT_FOUND", member, message: error.message }
}

struct Editor<'l> {
    document: Value,
    limits: &'l PatchLimits,
    carried: usize,
}

impl Editor<'_> {
    fn apply(&mut self, operation: &PatchOperation) -> Result<(), Fault> {
        let path = &operation.path;
        match &operation.action {
            Action::Add(value) => self.add(path, value.clone()),
            Action::Remove => self.remove(path, "path").map(drop),
            Action::Replace(value) => {
                path.find(&self.document).map_err(at("path"))?;
                self.check_depth(path, value)?;
                *find_mut(&mut self.document, path, path.tokens().len()).map_err(at("path"))? = value.clone();
                Ok(())
            }
            Action::Move(from) => {
                if from != path && from.holds(path) {
                    let message = format!("\"{}\" cannot be moved into itself, to \"{}\"", from.shown(), path.shown());
                    return Err(Fault { code: "BAD_PATCH", member: "path", message });
                }
                self.carry(from.find(&self.document).map_err(at("from"))?.clone()).map(drop)?;
                if from == path {
                    return Ok(());
                }
                let value = self.remove(from, "from")?;
                self.add(path, value)
            }
            Action::Copy(from) => {
                let value = self.carry(from.find(&self.document).map_err(at("from"))?.clone())?;
                self.add(path, value)
            }
            Action::Test(value) => {
                let found = path.find(&self.document).map_err(at("path"))?;
                if is_equal(found, value) {
                    return Ok(());
                }
                let message = format!("\"{}\" is {}, not {}", path.shown(), shown(found), shown(value));
                Err(Fault { code: "TEST_FAILED", member: "value", message })
            }
        }
    }

    fn add(&mut self, path: &Pointer, value: Value) -> Result<(), Fault> {
        self.check_depth(path, &value)?;
        let Some((last, above)) = path.tokens().split_last() else {
            self.document = value;
            return Ok(());
        };
        match find_mut(&mut self.document, path, above.len()).map_err(at("path"))? {
            Value::Map(map) => Arc::make_mut(map).set(last, value),
            Value::List(items) => {
                let place = match index(last).map_err(at("path"))? {
                    Index::End => items.len(),
                    Index::At(place) if place <= items.len() => place,
                    Index::At(_) => return Err(at("path")(path.lost(above.len()))),
                };
                Arc::make_mut(items).insert(place, value);
            }
            _ => return Err(at("path")(path.lost(above.len()))),
        }
        Ok(())
    }

    fn remove(&mut self, path: &Pointer, member: &'static str) -> Result<Value, Fault> {
        let Some((last, above)) = path.tokens().split_last() else {
            let message = "the whole document cannot be taken away".to_owned();
            return Err(Fault { code: "BAD_PATCH", member, message });
        };
        let taken = match find_mut(&mut self.document, path, above.len()).map_err(at(member))? {
            Value::Map(map) => Arc::make_mut(map).take(last),
            Value::List(items) => match index(last).map_err(at(member))? {
                Index::At(place) if place < items.len() => Some(Arc::make_mut(items).remove(place)),
                _ => None,
            },
            _ => None,
        };
        taken.ok_or_else(|| at(member)(path.lost(above.len())))
    }

    /// Counts what `move` and `copy` carry.
    fn carry(&mut self, value: Value) -> Result<Value, Fault> {
        let left = self.limits.carried_max - self.carried;
        let Some(size) = size(&value, left) else {
            let message =
                format!("`copy` and `move` carry more than {} values and bytes of text", self.limits.carried_max);
            return Err(Fault { code: "LIMIT_EXCEEDED", member: "from", message });
        };
        self.carried += size;
        Ok(value)
    }

    fn check_depth(&self, path: &Pointer, value: &Value) -> Result<(), Fault> {
        let depth_max = self.limits.depth_max;
        if path.tokens().len() <= depth_max && fits(value, depth_max - path.tokens().len()) {
            return Ok(());
        }
        let message = format!("\"{}\" would be nested deeper than {depth_max}", path.shown());
        Err(Fault { code: "LIMIT_EXCEEDED", member: "path", message })
    }
}

/// The value at the first `depth` tokens of a path.
fn find_mut<'v>(document: &'v mut Value, path: &Pointer, depth: usize) -> Result<&'v mut Value, PointerError> {
    let mut value = document;
    for (at, token) in path.tokens()[..depth].iter().enumerate() {
        let found = match value {
            Value::Map(map) => Arc::make_mut(map).member_mut(token),
            Value::List(items) => match index(token)? {
                Index::At(place) => Arc::make_mut(items).get_mut(place),
                Index::End => None,
            },
            _ => None,
        };
        value = found.ok_or_else(|| path.lost(at))?;
    }
    Ok(value)
}

/// Values in it, itself and the names of members included, and bytes of texts; `None` where they are more than `left`.
/// Documents are not deep, so the recursion is not.
fn size(value: &Value, left: usize) -> Option<usize> {
    let mut sum = 1;
    let mut add = |child: &Value| {
        sum += size(child, left.checked_sub(sum)?)?;
        Some(())
    };
    match value {
        Value::List(items) => items.iter().try_for_each(&mut add)?,
        Value::Map(map) => map.entries().iter().try_for_each(|(name, child)| add(name).and_then(|()| add(child)))?,
        Value::String(text) => sum += text.len(),
        _ => {}
    }
    (sum <= left).then_some(sum)
}

/// Whether arrays and objects are nested at most so deep.
fn fits(value: &Value, depth: usize) -> bool {
    match value {
        Value::List(items) => depth > 0 && items.iter().all(|item| fits(item, depth - 1)),
        Value::Map(map) => depth > 0 && map.entries().iter().all(|(_, member)| fits(member, depth - 1)),
        _ => true,
    }
}

/// Equality of RFC 6902, 4.6: numbers by their value.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_equal(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let same = |(key, value): &(Value, Value)| b.get(key).is_some_and(|other| is_equal(value, other));
            a.entries().len() == b.entries().len() && a.entries().iter().all(same)
        }
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
            number_order(a, b).is_some_and(std::cmp::Ordering::is_eq)
        }
        (a, b) => a.is_same_json(b),
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    let mut out = Vec::new();
    value.write(&mut out);
    crate::document::clip(&String::from_utf8_lossy(&out)).into_owned()
}
