//! What a pass gives.

use crate::input::Observed;
use serde::Serialize;
use serde_json::{Value, json};

/// A proposal: operations on the definition that keep what it means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Patch {
    /// JSON Patch (RFC 6902) operations, in order.
    pub operations: Vec<Value>,
    /// One sentence for each thing that was found.
    pub findings: Vec<Finding>,
    /// What a run saves on average.
    pub expected: Expected,
    /// Nodes whose result may be kept for an equal input. It changes no operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cacheable: Vec<String>,
}

/// Why the patch is as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The nodes that it is about.
    pub nodes: Vec<String>,
    /// One sentence.
    pub reason: String,
}

/// What a run saves on average, as far as it is known: without a profile only calls that are never needed count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Expected {
    /// Calls.
    pub calls: f64,
    /// Seconds of work.
    pub work_s: f64,
    /// Seconds of waiting.
    pub latency_s: f64,
}

impl Expected {
    /// Of a call that is not done any more.
    #[must_use]
    pub fn saved(observed: Option<Observed>) -> Self {
        match observed {
            Some(seen) => {
                Self { calls: seen.starts_per_run, work_s: seen.starts_per_run * seen.mean_s, latency_s: 0.0 }
            }
            None => Self { calls: 1.0, ..Self::default() },
        }
    }

    /// Adds another saving.
    pub fn add(&mut self, other: Expected) {
        self.calls += other.calls;
        self.work_s += other.work_s;
        self.latency_s += other.latency_s;
    }
}

/// The patch between two definitions of the same shape: lists of nodes and edges are changed element by element.
///
/// A pass changes a copy of the definition and asks for the operations at the end, so it never counts places by hand.
#[must_use]
pub fn operations(before: &Value, after: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    compare(before, after, &mut String::new(), &mut found);
    found
}

fn compare(before: &Value, after: &Value, at: &mut String, found: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                found.push(json!({"op": "remove", "path": below(at, name)}));
            }
            for (name, value) in new {
                let path = below(at, name);
                match old.get(name) {
                    None => found.push(json!({"op": "add", "path": path, "value": value})),
                    Some(known) => inside(at, name, |at| compare(known, value, at, found)),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if names_all(old) && names_all(new) => lists(old, new, at, found),
        (old, new) if old == new => {}
        (_, new) => found.push(json!({"op": "replace", "path": at, "value": new})),
    }
}

/// What an element of a list of nodes or edges is known by: its id, or its ends.
fn key(element: &Value) -> Option<(&str, &str, &str)> {
    let text = |name| element.get(name).and_then(Value::as_str);
    match text("id") {
        Some(id) => Some((id, "", "")),
        None => Some((text("from")?, text("to")?, text("on").unwrap_or("success"))),
    }
}

fn names_all(list: &[Value]) -> bool {
    list.iter().all(|element| key(element).is_some())
}

/// Elements that are gone are removed from the back, the rest is compared, new ones are added at the end: a pass
/// never changes the order of what stays.
fn lists(old: &[Value], new: &[Value], at: &mut String, found: &mut Vec<Value>) {
    let known: std::collections::HashMap<_, _> = new.iter().map(|element| (key(element), element)).collect();
    for (place, _) in old.iter().enumerate().rev().filter(|(_, element)| !known.contains_key(&key(element))) {
        found.push(json!({"op": "remove", "path": below(at, &place.to_string())}));
    }
    let mut had = std::collections::HashSet::new();
    for (place, element) in old.iter().filter(|element| known.contains_key(&key(element))).enumerate() {
        had.insert(key(element));
        // Most are as they were: seen without a path for each member.
        if let Some(value) = known.get(&key(element)).filter(|value| **value != element) {
            inside(at, &place.to_string(), |at| compare(element, value, at, found));
        }
    }
    for element in new.iter().filter(|element| !had.contains(&key(element))) {
        found.push(json!({"op": "add", "path": below(at, "-"), "value": element}));
    }
}

fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn inside(at: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let length = at.len();
    at.push_str(&below("", name));
    then(at);
    at.truncate(length);
}
