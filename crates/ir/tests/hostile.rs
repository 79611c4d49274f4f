//! Definitions made to hurt: each gets an answer, soon, and none overflows the stack (tests run on 2 MiB).
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::{Limits, compile};
use support::{codes, faults, workflow};

fn first(text: &str) -> String {
    codes(text).into_iter().next().unwrap_or_default()
}

#[test]
fn nesting_is_refused_at_its_limit() {
    for text in ["[".repeat(100_000), "{\"nodes\":".repeat(100_000), format!("{{\"nodes\":{}", "[".repeat(100_000))] {
        assert!(first(&text).starts_with("LIMIT_EXCEEDED"), "{}", first(&text));
    }
    let input = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    let node = format!(r#"{{"id": "f", "type": "function", "config": {{"name": "f"}}, "input": {{"x": {input}}}}}"#);
    assert!(first(&workflow(&node, "")).starts_with("LIMIT_EXCEEDED /nodes/0/input/x/0"));
}

#[test]
fn guards_are_refused_before_they_are_parsed() {
    let guard = |when: &str| {
        let nodes = r#"{"id": "a", "type": "join"}, {"id": "b", "type": "join"}"#;
        first(&workflow(nodes, &format!(r#"{{"from": "a", "to": "b", "when": "{when}"}}"#)))
    };
    assert_eq!(
        guard(&format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000))),
        "EXPRESSION_TOO_LONG /edges/0/when"
    );
    assert_eq!(guard(&format!("{}true{}", "(".repeat(5_000), ")".repeat(5_000))), "EXPRESSION_TOO_DEEP /edges/0/when");
    assert_eq!(guard(&vec!["true"; 100_000].join(" && ")), "EXPRESSION_TOO_LONG /edges/0/when");
    let nested = format!("{}true{}", "[1,2].all(x, ".repeat(20), ")".repeat(20));
    assert_eq!(guard(&nested), "EXPRESSION_TOO_COSTLY /edges/0/when");
}

#[test]
fn numbers_and_texts_that_are_no_values_are_named() {
    let input = |value: &str| {
        let node =
            format!(r#"{{"id": "f", "type": "function", "config": {{"name": "f"}}, "input": {{"x": {value}}}}}"#);
        first(&workflow(&node, ""))
    };
    for value in
        ["NaN", "-Infinity", "1e999", "99999999999999999999", r#""\ud800""#, r#"{"a": 1, "a": 2}"#, "\"\u{1}\"", "01"]
    {
        assert!(input(value).starts_with("BAD_JSON /nodes/0/input/x"), "{value}: {}", input(value));
    }
    assert_eq!(compile(b"\xff{}", None, &Limits::default()).unwrap_err()[0].code, "BAD_JSON");
    assert_eq!(compile(b"\xef\xbb\xbf{}", None, &Limits::default()).unwrap_err()[0].code, "BAD_JSON");
    assert_eq!(compile(b"", None, &Limits::default()).unwrap_err()[0].code, "BAD_JSON");
}

#[test]
fn limits_on_counts_hold() {
    let text = workflow(r#"{"id": "a", "type": "join"}, {"id": "b", "type": "join"}"#, r#"{"from": "a", "to": "b"}"#);
    let with = |limits: Limits| compile(text.as_bytes(), None, &limits).unwrap_err()[0].clone();
    let code = |limits: Limits| (with(limits.clone()).code, with(limits).pointer);
    assert_eq!(code(Limits { nodes_max: 1, ..Limits::default() }), ("LIMIT_EXCEEDED", "/nodes".to_owned()));
    assert_eq!(code(Limits { edges_max: 0, ..Limits::default() }), ("LIMIT_EXCEEDED", "/edges".to_owned()));
    assert_eq!(code(Limits { bytes_max: 10, ..Limits::default() }), ("LIMIT_EXCEEDED", String::new()));
}

#[test]
fn a_document_full_of_mistakes_is_answered_soon() {
    // 20,000 nodes with near misses everywhere: hints are bounded, so this is linear.
    let nodes: Vec<String> = (0..20_000).map(|i| format!(r#"{{"id": "node_{i}", "type": "join"}}"#)).collect();
    let edges: Vec<String> = (0..20_000)
        .map(|i| format!(r#"{{"from": "nod_{i}", "to": "node_{i}x", "when": "nodes.x{i}.output"}}"#))
        .collect();
    assert_eq!(faults(&workflow(&nodes.join(","), &edges.join(","))).len(), 1_001);
    let ring: Vec<String> =
        (0..20_000).map(|i| format!(r#"{{"from": "node_{i}", "to": "node_{}"}}"#, (i + 1) % 20_000)).collect();
    assert_eq!(codes(&workflow(&nodes.join(","), &ring.join(","))), ["CYCLE /edges/19999"]);
    let pairs: Vec<String> = (0..10_000)
        .flat_map(|i| [2 * i, 2 * i + 1].map(|from| format!(r#"{{"from": "node_{from}", "to": "node_{}"}}"#, from ^ 1)))
        .collect();
    assert_eq!(faults(&workflow(&nodes.join(","), &pairs.join(","))).len(), 1_001);
}

#[test]
fn many_faults_in_one_field_are_answered_soon() {
    let reads: Vec<String> = (0..50_000).map(|i| format!(r#""${{nodes.n{i}.output}}""#)).collect();
    let node = format!(
        r#"{{"id": "f", "type": "function", "config": {{"name": "f"}}, "input": {{"x": [{}]}}}}"#,
        reads.join(",")
    );
    assert_eq!(faults(&workflow(&node, "")).len(), 1_001);
}
