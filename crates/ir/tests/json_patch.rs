//! RFC 6901 and RFC 6902: all strict cases of json-patch-tests, and what holds for any document and patch.
#![allow(clippy::unwrap_used)]

use apex_ir::overlay::{Patch, PatchError, PatchLimits, Pointer, diff};
use apex_ir::value::{Value, canonical, parse};
use proptest::prelude::*;
use serde_json::Value as Json;

fn value(json: &Json) -> Value {
    parse(json.to_string().as_bytes(), &Default::default()).unwrap()
}

fn text(value: &Value) -> String {
    let mut out = Vec::new();
    value.write_canonical(&mut out);
    String::from_utf8(out).unwrap()
}

fn apply(document: &str, patch: &str) -> Result<String, PatchError> {
    let limits = PatchLimits { depth_max: 16, carried_max: 1_000, ..PatchLimits::default() };
    let document = parse(document.as_bytes(), &Default::default()).unwrap();
    Ok(text(&Patch::parse(patch.as_bytes(), &limits)?.apply(&document, &limits)?))
}

/// `CODE pointer` of what is wrong.
fn fault(document: &str, patch: &str) -> String {
    let error = apply(document, patch).unwrap_err();
    format!("{} {}", error.code, error.pointer)
}

#[test]
fn every_strict_case_passes() {
    let mut seen = 0;
    for line in include_str!("data/json_patch/cases.jsonl").lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        if case["class"] != "strict" {
            continue;
        }
        seen += 1;
        let found = apply(&case["doc"].to_string(), &case["patch"].to_string());
        match (case.get("expected"), case.get("error")) {
            (Some(expected), _) => {
                assert_eq!(found.as_deref().ok(), Some(&*text(&value(expected))), "{line}: {found:?}")
            }
            (None, Some(_)) => assert!(found.is_err(), "{line}: {found:?}"),
            (None, None) => assert!(found.is_ok(), "{line}: {found:?}"),
        }
    }
    assert_eq!(seen, 108);
}

#[test]
fn what_the_source_disables_is_read_strictly_too() {
    // A member that stands twice is lost in JSON libraries; it is refused here, as RFC 6902 (A.13) asks.
    let twice = r#"[{"op": "add", "path": "/baz", "value": "qux", "op": "remove"}]"#;
    assert_eq!(fault(r#"{"foo": "bar"}"#, twice), "BAD_JSON /0/op");
    assert_eq!(apply(r#""foo""#, r#"[{"op": "replace", "path": "", "value": "bar"}]"#).unwrap(), r#""bar""#);
    assert_eq!(apply("{}", r#"[{"op": "test", "path": "", "value": {}}]"#).unwrap(), "{}");
}

#[test]
fn pointers_are_those_of_rfc_6901() {
    for line in include_str!("data/json_patch/pointer.jsonl").lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let pointer = match (case["pointer"].as_str(), case["uri_fragment"].as_str()) {
            (Some(pointer), _) => Pointer::parse(pointer),
            (None, fragment) => Pointer::parse_fragment(fragment.unwrap()),
        };
        let document = value(&case["doc"]);
        let found = pointer.and_then(|pointer| pointer.find(&document).cloned());
        assert_eq!(found.as_ref().map(text).ok(), case.get("expected").map(|value_| text(&value(value_))), "{line}");
    }
    for wrong in ["a", " /a", "/~", "/~2", "/a~", "#/a"] {
        assert!(Pointer::parse(wrong).is_err(), "{wrong}");
    }
    for wrong in ["/a", "#a", "#/%", "#/%f", "#/%ff", "#/%zz"] {
        assert!(Pointer::parse_fragment(wrong).is_err(), "{wrong}");
    }
    let document = value(&serde_json::json!({"a": [1, {"~": 2}], "": {"": 3}}));
    for (pointer, found) in [("/a/1/~0", Some("2")), ("//", Some("3")), ("/a/-", None), ("/a/01", None), ("/a/2", None)]
    {
        let pointer = Pointer::parse(pointer).unwrap();
        assert_eq!(pointer.find(&document).map(text).ok().as_deref(), found);
    }
    let far = Pointer::parse("/a/99999999999999999999999").unwrap().find(&document).unwrap_err();
    assert!(far.message.contains("no index"), "{}", far.message);
    assert_eq!(
        Pointer::parse("/a/1/b/c").unwrap().find(&document).unwrap_err().message,
        r#""/a/1/b/c" is not there: "/a/1" holds no "b""#
    );
}

#[test]
fn a_fault_names_operation_and_place() {
    let document = r#"{"a": [1, 2], "b": {"c": 1}}"#;
    for (patch, expected) in [
        ("{}", "BAD_PATCH "),
        ("[1]", "BAD_PATCH /0"),
        (r#"[{"op": "test", "path": "", "value": null}"#, "BAD_JSON /0"),
        (r#"[{"path": ""}]"#, "BAD_PATCH /0"),
        (
            r#"[{"op": "add", "path": "/a/0", "value": 1}, {"op": "move", "path": "/x", "from": 1}]"#,
            "BAD_PATCH /1/from",
        ),
        (r#"[{"op": "add", "path": "/a/0", "value": 1}, {"op": "ADD", "path": "/x", "value": 1}]"#, "BAD_PATCH /1/op"),
        (r#"[{"op": "remove", "path": ""}]"#, "BAD_PATCH /0/path"),
        (r#"[{"op": "move", "from": "/b", "path": "/b/c/d"}]"#, "BAD_PATCH /0/path"),
        (r#"[{"op": "move", "from": "", "path": "/a"}]"#, "BAD_PATCH /0/path"),
        (r#"[{"op": "copy", "from": "/x", "path": "/y"}]"#, "POINTER_NOT_FOUND /0/from"),
        (r#"[{"op": "replace", "path": "/x", "value": 1}]"#, "POINTER_NOT_FOUND /0/path"),
        (r#"[{"op": "replace", "path": "/a/-", "value": 1}]"#, "POINTER_NOT_FOUND /0/path"),
        (r#"[{"op": "add", "path": "/b/c/d", "value": 1}]"#, "POINTER_NOT_FOUND /0/path"),
        (r#"[{"op": "test", "path": "/b/c", "value": 2}]"#, "TEST_FAILED /0/value"),
        (r#"[{"op": "test", "path": "/b", "value": {"c": 1, "d": null}}]"#, "TEST_FAILED /0/value"),
    ] {
        assert_eq!(fault(document, patch), expected, "{patch}");
    }
}

#[test]
fn numbers_are_equal_by_value_and_keep_their_spelling() {
    let document = r#"{"n": 1, "big": 9007199254740993, "d": 0.1}"#;
    let test = |value: &str| apply(document, &format!(r#"[{{"op": "test", "path": "/n", "value": {value}}}]"#)).is_ok();
    assert!(test("1") && test("1.0") && test("1e0") && !test("\"1\"") && !test("true") && !test("2"));
    let close = r#"[{"op": "test", "path": "/big", "value": 9007199254740992.0}]"#;
    assert_eq!(fault(document, close), "TEST_FAILED /0/value");
    let moved = r#"[{"op": "move", "from": "/big", "path": "/b"}, {"op": "copy", "from": "/d", "path": "/e"}]"#;
    assert_eq!(apply(document, moved).unwrap(), r#"{"b":9007199254740993,"d":0.1,"e":0.1,"n":1}"#);
}

#[test]
fn a_patch_cannot_grow_without_bound() {
    // Each copy into itself doubles the document, or its depth.
    let wide: Vec<String> = (0..40).map(|i| format!(r#"{{"op": "copy", "from": "", "path": "/{i}"}}"#)).collect();
    assert!(fault("{}", &format!("[{}]", wide.join(","))).starts_with("LIMIT_EXCEEDED"));
    let mut path = String::from("/a");
    let mut deep = Vec::new();
    for _ in 0..40 {
        deep.push(format!(r#"{{"op": "copy", "from": "", "path": "{path}"}}"#));
        path.push_str("/a");
    }
    assert!(fault("{}", &format!("[{}]", deep.join(","))).starts_with("LIMIT_EXCEEDED"));
    let limits = PatchLimits { operations_max: 1, bytes_max: 40, ..PatchLimits::default() };
    for patch in [r#"[{"op": 1}, {"op": 2}]"#, &" ".repeat(41)] {
        assert_eq!(Patch::parse(patch.as_bytes(), &limits).unwrap_err().code, "LIMIT_EXCEEDED");
    }
    let nested = format!("[{{\"op\": \"add\", \"path\": \"/a\", \"value\": {}1{}}}]", "[".repeat(80), "]".repeat(80));
    assert!(fault("{}", &nested).starts_with("LIMIT_EXCEEDED"));
}

/// Documents with few names, so that two of them have much in common.
fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        prop_oneof![Just(0_i64), Just(i64::MIN), Just(i64::MAX), -3..3_i64].prop_map(Json::from),
        prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(1e300)].prop_map(|n: f64| serde_json::json!(n)),
        "[a~/é\u{1f600}\"]{0,2}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Json::from),
            prop::collection::btree_map("[a-p~/\u{1f600}\u{fb01}]{0,1}", inner, 0..14)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Operations on places of which many are there.
fn operations() -> impl Strategy<Value = Vec<Json>> {
    let pointer = || prop::collection::vec("[a-e0-3~/-]", 0..3).prop_map(|tokens| Pointer::new(tokens).to_string());
    let operation = (0..6_usize, pointer(), pointer(), json()).prop_map(|(op, path, from, value)| {
        let name = ["add", "remove", "replace", "move", "copy", "test"][op];
        serde_json::json!({"op": name, "path": path, "from": from, "value": value})
    });
    prop::collection::vec(operation, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_diff_makes_the_other_document(a in json(), b in json()) {
        let (a, b) = (value(&a), value(&b));
        let (patch, limits) = (diff(&a, &b), PatchLimits::default());
        prop_assert_eq!(text(&patch.apply(&a, &limits).unwrap()), text(&b));
        // And does so after it was written down.
        let read = Patch::parse(text(&patch.to_value()).as_bytes(), &limits).unwrap();
        prop_assert_eq!(text(&read.apply(&a, &limits).unwrap()), text(&b));
        prop_assert!(diff(&a, &a).operations.is_empty());
    }

    #[test]
    fn any_patch_applies_whole_or_not_at_all(document in json(), operations in operations()) {
        let (before, limits) = (value(&document), PatchLimits::default());
        let patch = Patch::parse(Json::from(operations.clone()).to_string().as_bytes(), &limits).unwrap();
        let after = patch.apply(&before, &limits);
        prop_assert_eq!(text(&before), text(&value(&document)), "the document itself never changes");
        match after {
            // One at a time gives the same.
            Ok(after) => {
                let step = |document: Value, operation: &Json| {
                    let one = Patch::parse(format!("[{operation}]").as_bytes(), &limits).unwrap();
                    one.apply(&document, &limits).unwrap()
                };
                let steps = operations.iter().fold(before, step);
                prop_assert_eq!(text(&steps), text(&after));
                // What comes out is a value of contracts.md, and written canonically.
                prop_assert_eq!(canonical(text(&after).as_bytes(), &Default::default()).unwrap(), text(&after).into_bytes());
            }
            Err(error) => {
                let at = error.operation.unwrap();
                let place = format!("/{at}");
                prop_assert!(error.pointer.starts_with(&place));
                let until = Patch { operations: patch.operations[..at].to_vec() };
                prop_assert!(until.apply(&before, &limits).is_ok());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(text in "[\\[\\]{}:,\"oppathvluefrm/~0-9 ]{0,80}") {
        let _ = Patch::parse(text.as_bytes(), &PatchLimits::default());
        let _ = Pointer::parse(&text);
        let _ = Pointer::parse_fragment(&text);
    }
}
