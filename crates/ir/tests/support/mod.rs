//! What the tests share: a scope made of JSON, and short ways to compile.
#![allow(dead_code, clippy::unwrap_used)]

use apex_ir::expressions::{Member, NodeRef, Scope};
use apex_ir::value::cut;
use apex_ir::{Diagnostic, Ir, Limits, compile};
use std::borrow::Cow;

/// A scope over one JSON text: `{"inputs", "outputs": {id: …}, "status": {id: …}, "errors": {id: …}, "item", …}`.
pub(crate) struct JsonScope {
    pub(crate) all: Vec<u8>,
    pub(crate) inputs: Vec<u8>,
}

impl JsonScope {
    pub(crate) fn new(json: &str) -> Self {
        apex_ir::value::check(json.as_bytes(), &Default::default()).unwrap();
        let inputs = cut(json.as_bytes(), &["inputs"]).unwrap_or(b"{}").to_vec();
        Self { all: json.as_bytes().to_vec(), inputs }
    }

    fn integer(&self, name: &str) -> Option<i64> {
        std::str::from_utf8(cut(&self.all, &[name])?).unwrap().parse().ok()
    }
}

impl Scope for JsonScope {
    fn inputs(&self) -> &[u8] {
        &self.inputs
    }
    fn output(&self, node: &NodeRef, path: &[Box<str>]) -> Member<'_> {
        match cut(&self.all, &["outputs", &node.id]) {
            None => Member::NoOutput,
            Some(output) => cut(output, path).map_or(Member::Missing, |raw| Member::Raw(raw.into())),
        }
    }
    fn status(&self, node: &NodeRef) -> Option<&str> {
        let raw = std::str::from_utf8(cut(&self.all, &["status", &node.id])?).unwrap();
        Some(raw.trim_matches('"'))
    }
    fn error(&self, node: &NodeRef) -> Option<Cow<'_, [u8]>> {
        cut(&self.all, &["errors", &node.id]).map(Cow::Borrowed)
    }
    fn item(&self) -> Option<Cow<'_, [u8]>> {
        cut(&self.all, &["item"]).map(Cow::Borrowed)
    }
    fn index(&self) -> Option<i64> {
        self.integer("index")
    }
    fn iteration(&self) -> Option<i64> {
        self.integer("iteration")
    }
    fn last(&self) -> Option<Cow<'_, [u8]>> {
        cut(&self.all, &["last"]).map(Cow::Borrowed)
    }
    fn run_id(&self) -> &str {
        "0190d5ac-7d1a-7000-8000-000000000000"
    }
    fn run_started_ns(&self) -> i64 {
        1_700_000_000_123_000_000
    }
}

pub(crate) fn ok(definition: &str) -> Ir {
    compile(definition.as_bytes(), None, &Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

pub(crate) fn faults(definition: &str) -> Vec<Diagnostic> {
    compile(definition.as_bytes(), None, &Limits::default()).err().unwrap_or_default()
}

/// `CODE pointer` of each fault.
pub(crate) fn codes(definition: &str) -> Vec<String> {
    faults(definition).iter().map(|fault| format!("{} {}", fault.code, fault.pointer)).collect()
}

/// A workflow around nodes and edges.
pub(crate) fn workflow(nodes: &str, edges: &str) -> String {
    format!(r#"{{"name": "w", "version": "1", "nodes": [{nodes}], "edges": [{edges}]}}"#)
}
