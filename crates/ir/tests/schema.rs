//! Input schemas: the official suite for what is supported, refusals for the rest, and a bound on the cost.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use apex_ir::{Ir, Limits, compile};
use serde_json::Value;

fn with_schema(schema: &str) -> Result<Ir, Vec<apex_ir::Diagnostic>> {
    let text =
        format!(r#"{{"name": "w", "version": "1", "inputs": {schema}, "nodes": [{{"id": "j", "type": "join"}}]}}"#);
    compile(text.as_bytes(), None, &Limits { depth_max: 128, ..Limits::default() })
}

#[test]
fn the_official_suite_is_passed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/json_schema");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut passed, mut refused, mut wrong) = (0, Vec::new(), Vec::new());
    for file in files {
        let groups: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for group in &groups {
            let schema = group["schema"].to_string();
            let ir = match with_schema(&schema) {
                Ok(ir) => ir,
                Err(faults) => {
                    refused.push(format!("{name}: {} ({})", group["description"], faults[0].message));
                    continue;
                }
            };
            for test in group["tests"].as_array().unwrap() {
                let data = test["data"].to_string();
                let valid = ir.check_inputs(data.as_bytes());
                if valid.is_ok() == test["valid"].as_bool().unwrap() {
                    passed += 1;
                } else {
                    wrong.push(format!("{name}: {} / {}: {data} {valid:?}", group["description"], test["description"]));
                }
            }
        }
    }
    println!("passed {passed}, groups refused {}", refused.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // What is refused is refused at compile time, with a reason: dynamic and remote references, `$id` inside.
    let reasons = ["not supported", "is not local", "leads nowhere", "dialect", "outside int64", "BAD_JSON"];
    for refused in &refused {
        assert!(reasons.iter().any(|reason| refused.contains(reason)), "{refused}");
    }
    assert!(passed >= 716, "{passed} passed; refused:\n{}", refused.join("\n"));
}

#[test]
fn bad_schemas_are_named_with_their_place() {
    let cases = [
        (r#"{"type": "strin"}"#, "/inputs/type"),
        (r#"{"properties": {"a": {"minimum": "1"}}}"#, "/inputs/properties/a/minimum"),
        (r#"{"properties": {"a": 7}}"#, "/inputs/properties/a"),
        (r#"{"required": "a"}"#, "/inputs/required"),
        (r##"{"$ref": "#/$defs/none"}"##, "/inputs/$ref"),
        (r#"{"$ref": "https://example.com/schema"}"#, "/inputs/$ref"),
        (r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#, "/inputs/$schema"),
        (r#"{"pattern": "(a"}"#, "/inputs/pattern"),
        (r#"{"pattern": "(a)\\1"}"#, "/inputs/pattern"),
        (r#"{"allOf": []}"#, "/inputs/allOf"),
        ("7", "/inputs"),
    ];
    for (schema, pointer) in cases {
        let faults = with_schema(schema).unwrap_err();
        assert_eq!((faults[0].code, &*faults[0].pointer), ("BAD_SCHEMA", pointer), "{schema}");
    }
}

#[test]
fn a_schema_that_explodes_is_stopped() {
    let mut defs = vec![r#""d0": {"type": "integer"}"#.to_owned()];
    for i in 1..40 {
        let one = format!(r##"{{"$ref": "#/$defs/d{}"}}"##, i - 1);
        defs.push(format!(r#""d{i}": {{"allOf": [{one}, {one}]}}"#));
    }
    let schema = format!(r##"{{"$defs": {{{}}}, "$ref": "#/$defs/d39"}}"##, defs.join(","));
    let ir = with_schema(&schema).unwrap();
    assert_eq!(ir.check_inputs(b"1").unwrap_err()[0].code, "LIMIT_EXCEEDED");
    let circle = with_schema(r##"{"$ref": "#"}"##).unwrap();
    assert_eq!(circle.check_inputs(b"1").unwrap_err()[0].code, "LIMIT_EXCEEDED");
    let slow = with_schema(r#"{"pattern": "^(a+)+$"}"#).unwrap();
    let text = format!("\"{}b\"", "a".repeat(100_000));
    assert_eq!(slow.check_inputs(text.as_bytes()).unwrap_err()[0].code, "BAD_VALUE");
}

#[test]
fn all_faults_of_inputs_are_named() {
    let schema = r#"{"type": "object", "properties": {"a": {"type": "integer", "maximum": 5}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b", "c"], "additionalProperties": false}"#;
    let ir = with_schema(schema).unwrap();
    let faults = ir.check_inputs(br#"{"a": 9, "b": "z", "d/e": 1}"#).unwrap_err();
    let found: Vec<(&str, &str)> = faults.iter().map(|fault| (fault.code, &*fault.pointer)).collect();
    assert_eq!(found, [("MISSING_FIELD", ""), ("BAD_VALUE", "/a"), ("BAD_VALUE", "/b"), ("UNKNOWN_FIELD", "/d~1e")]);
}
