//! Values: what is one, what is not, and how one is cut and written.
#![allow(clippy::unwrap_used)]

use apex_ir::value::{ValueLimits, canonical, check, cut, parse};
use proptest::prelude::*;

fn limits() -> ValueLimits {
    ValueLimits::default()
}

fn code(json: &[u8]) -> &'static str {
    check(json, &limits()).map_or_else(|error| error.code, |()| "ok")
}

#[test]
fn the_parsing_suite_is_passed() {
    let suite = include_str!("data/json_parsing.txt");
    let mut seen = 0;
    for line in suite.lines() {
        let mut parts = line.splitn(3, ' ');
        let (expect, name, hex) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let digits: Vec<u8> = hex.bytes().map(|c| char::from(c).to_digit(16).unwrap() as u8).collect();
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect();
        let result = check(&bytes, &limits());
        // Stricter than RFC 8259 where contracts.md is: no member twice.
        let stricter = name.contains("duplicated_key");
        match expect {
            "accept" if stricter => assert!(result.is_err(), "{name}"),
            "accept" => assert_eq!(result, Ok(()), "{name}"),
            "reject" => assert!(result.is_err(), "{name}"),
            _ => {}
        }
        assert_eq!(result.is_ok(), parse(&bytes, &limits()).is_ok(), "{name}");
        assert_eq!(result.is_ok(), canonical(&bytes, &limits()).is_ok(), "{name}");
        seen += 1;
    }
    assert!(seen > 140, "{seen} cases");
}

#[test]
fn what_contracts_refuse_is_refused_with_its_place() {
    let cases: [(&str, &str, &str); 12] = [
        (r#"{"a": {"b": [1, NaN]}}"#, "/a/b/1", "NaN"),
        (r#"{"a": Infinity}"#, "/a", "Infinity"),
        (r#"{"a": 1, "b": 2, "a": 3}"#, "/a", "twice"),
        (r#"{"x": {"a": 1, "\u0061": 2}}"#, "/x/a", "twice"),
        (r#"["\ud800"]"#, "/0", "lone surrogate"),
        (r#"["\udc00\ud800"]"#, "/0", "lone surrogate"),
        (r#"["\ud800\u0041"]"#, "/0", "lone surrogate"),
        ("[9223372036854775808]", "/0", "outside int64"),
        ("[-9223372036854775809]", "/0", "outside int64"),
        ("[1e400]", "/0", "too large"),
        (r#"{"a/b": {"~": tru}}"#, "/a~1b/~0", "expected a value"),
        ("[1,]", "/1", "expected a value"),
    ];
    for (json, pointer, words) in cases {
        let error = check(json.as_bytes(), &limits()).unwrap_err();
        assert_eq!((error.code, &*error.pointer), ("BAD_JSON", pointer), "{json}");
        assert!(error.message.contains(words), "{json}: {}", error.message);
    }
    assert_eq!(check(b"[9223372036854775807,-9223372036854775808,\"\\ud83d\\ude00\"]", &limits()), Ok(()));
}

#[test]
fn depth_and_size_have_limits_and_no_recursion() {
    let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert_eq!(code(&deep(128)), "ok");
    assert_eq!(code(&deep(129)), "LIMIT_EXCEEDED");
    assert_eq!(code(&deep(100_000)), "LIMIT_EXCEEDED");
    assert_eq!(code(&vec![b'['; 1_000_000]), "LIMIT_EXCEEDED");
    assert_eq!(code(&"{\"a\":".repeat(100_000).into_bytes()), "LIMIT_EXCEEDED");
    let small = ValueLimits { bytes_max: 10, ..limits() };
    assert_eq!(check(b"[1,2,3,4,5,6]", &small).unwrap_err().code, "LIMIT_EXCEEDED");
}

#[test]
fn many_members_are_compared_in_less_than_quadratic_time() {
    let members: Vec<String> = (0..200_000).map(|i| format!("\"k{i}\":{i}")).collect();
    let json = format!("{{{}}}", members.join(","));
    assert_eq!(code(json.as_bytes()), "ok");
    let twice = format!("{{{},\"k7\":0}}", members.join(","));
    assert_eq!(check(twice.as_bytes(), &limits()).unwrap_err().pointer, "/k7");
}

#[test]
fn cut_gives_the_raw_member() {
    let json = br#" {"a" : {"b\n": [1, {"c": "}"}], "b": -1.5e3 } , "z":null} "#;
    let path = |path: &[&str]| cut(json, path).map(|raw| String::from_utf8_lossy(raw).into_owned());
    assert_eq!(path(&["a", "b"]).as_deref(), Some("-1.5e3"));
    assert_eq!(path(&["a", "b\n"]).as_deref(), Some(r#"[1, {"c": "}"}]"#));
    assert_eq!(path(&["z"]).as_deref(), Some("null"));
    assert_eq!(path(&["z", "q"]), None);
    assert_eq!(path(&["q"]), None);
    assert_eq!(cut(b" 7 ", &[] as &[&str]), Some(&b"7"[..]));
}

#[test]
fn canonical_form_is_sorted_and_keeps_types() {
    let form = |json: &str| String::from_utf8(canonical(json.as_bytes(), &limits()).unwrap()).unwrap();
    assert_eq!(form(r#"{ "b": 1, "a": [1.0, -0, 1e3, 0.1, 1E-7] }"#), r#"{"a":[1.0,0,1000.0,0.1,1e-7],"b":1}"#);
    assert_eq!(
        form(r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#),
        "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
    );
    assert_eq!(form(r#""\u0041\/\u001f\"""#), r#""A/\u001f\"""#);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..14)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_is_stable_and_means_the_same(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let form = canonical(&text, &limits()).unwrap();
        prop_assert_eq!(&canonical(&form, &limits()).unwrap(), &form);
        let back: serde_json::Value = serde_json::from_slice(&form).unwrap();
        prop_assert_eq!(&back, &value);
        let mut written = Vec::new();
        parse(&text, &limits()).unwrap().write_canonical(&mut written);
        prop_assert_eq!(written, form);
    }

    #[test]
    fn cut_agrees_with_the_tree(value in json()) {
        let text = serde_json::to_vec(&value).unwrap();
        if let serde_json::Value::Object(map) = &value {
            for (name, member) in map {
                let raw = cut(&text, &[name]).unwrap();
                let back: serde_json::Value = serde_json::from_slice(raw).unwrap();
                prop_assert_eq!(&back, member);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), path in "[a-c]{1,2}") {
        let _ = check(&bytes, &limits());
        let _ = parse(&bytes, &limits());
        let _ = cut(&bytes, &[path]);
    }

    #[test]
    fn broken_json_never_panics(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let place = at.index(text.len());
        text[place] = byte;
        let same = check(&text, &limits()).is_ok();
        prop_assert_eq!(same, canonical(&text, &limits()).is_ok());
        let _ = cut(&text, &["a", "b"]);
    }
}
