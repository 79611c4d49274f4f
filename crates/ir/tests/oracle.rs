//! The evaluator beside another implementation of CEL (the `cel` crate), on what both have.
//!
//! Left out, as the crate differs from the standard or from decision 0002 there: order and equality across integer
//! and double, missing members of a node without output, and the texts of errors.
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::expressions::{Budget, Expression};
use apex_ir::limits::ExpressionLimits;
use proptest::prelude::*;
use support::JsonScope;

const INPUTS: &str = r#"{"a": 3, "b": -7, "t": true, "f": false, "s": "hello", "u": "né", "l": [1, 2, 3, 5], "e": [],
  "m": {"x": 1, "y": {"z": "deep"}}, "ls": ["p", "q"], "d": 2.5, "n": null}"#;

fn ours(text: &str) -> Option<serde_json::Value> {
    let scope = JsonScope::new(&format!(r#"{{"inputs": {INPUTS}}}"#));
    let expression = Expression::compile(text, &ExpressionLimits::default()).unwrap();
    let value = expression.evaluate(&scope, &mut Budget::default()).ok()?;
    let mut out = Vec::new();
    value.write(&mut out);
    serde_json::from_slice(&out).ok()
}

/// Integers as CEL `int`: serde would make the positive ones `uint`.
fn to_cel(json: &serde_json::Value) -> cel::Value {
    match json {
        serde_json::Value::Null => cel::Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => cel::Value::Int(number),
            None => cel::Value::Float(number.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        serde_json::Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), to_cel(value)));
            entries.collect::<std::collections::HashMap<String, cel::Value>>().into()
        }
    }
}

fn theirs(text: &str) -> Option<serde_json::Value> {
    let mut context = cel::Context::default();
    let inputs: serde_json::Value = serde_json::from_str(INPUTS).unwrap();
    context.add_variable_from_value("inputs", to_cel(&inputs));
    let program = cel::Program::compile(text).unwrap();
    program.execute(&context).ok()?.json().ok()
}

fn integer() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (0..20_i64).prop_map(|n| n.to_string()),
        Just("inputs.a".to_owned()),
        Just("inputs.b".to_owned()),
        Just("inputs.m.x".to_owned()),
        Just("inputs['a']".to_owned()),
        (0..6_usize).prop_map(|i| format!("inputs.l[{i}]")),
        Just("size(inputs.l)".to_owned()),
        Just("inputs.s.size()".to_owned()),
        Just("9223372036854775807".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} > {b} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} + {b}")),
        ]
    })
    .boxed()
}

fn truth() -> BoxedStrategy<String> {
    let compared = (integer(), prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]), integer());
    let leaf = prop_oneof![
        Just("inputs.t".to_owned()),
        Just("inputs.f".to_owned()),
        compared.prop_map(|(a, sign, b)| format!("({a}) {sign} ({b})")),
        integer().prop_map(|a| format!("(({a}) in inputs.l)")),
        Just("inputs.s.contains('ell')".to_owned()),
        Just("inputs.s.startsWith('he')".to_owned()),
        Just("inputs.u.endsWith('é')".to_owned()),
        Just("inputs.s.matches('^h.*o$')".to_owned()),
        Just("has(inputs.m.x)".to_owned()),
        Just("has(inputs.m.nope)".to_owned()),
        Just("'p' in inputs.ls".to_owned()),
        Just("'x' in inputs.m".to_owned()),
        Just("inputs.n == null".to_owned()),
        Just("inputs.m.y.z == 'deep'".to_owned()),
        Just("inputs.d > 2.0".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("inputs.l.all(v, v < 4 || {a})")),
            inner.clone().prop_map(|a| format!("inputs.l.exists(v, v == 5 && {a})")),
            inner.prop_map(|a| format!("inputs.l.exists_one(v, v == 2 && {a})")),
        ]
    })
    .boxed()
}

fn list() -> BoxedStrategy<String> {
    prop_oneof![
        integer().prop_map(|a| format!("inputs.l.map(v, v * 2 + ({a}))")),
        truth().prop_map(|a| format!("inputs.l.filter(v, v > 1 && {a})")),
        (integer(), truth()).prop_map(|(a, b)| format!("[{a}, {b}, inputs.s + 'x', inputs.d * 2.0]")),
        integer().prop_map(|a| format!("inputs.l + [{a}] + inputs.e")),
        integer().prop_map(|a| format!("[string({a}), string(inputs.t)]")),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_give_the_same(text in prop_oneof![integer(), truth(), list()]) {
        if Expression::compile(&text, &ExpressionLimits::default()).is_ok() {
            prop_assert_eq!(ours(&text), theirs(&text), "{}", text);
        }
    }

    #[test]
    fn the_cost_is_the_same_each_time(text in prop_oneof![integer(), truth(), list()], max in 1..60_u64) {
        let Ok(expression) = Expression::compile(&text, &ExpressionLimits::default()) else { return Ok(()) };
        let scope = JsonScope::new(&format!(r#"{{"inputs": {INPUTS}}}"#));
        let run = |max: u64| {
            let mut budget = Budget::new(max);
            let error = expression.evaluate(&scope, &mut budget).err();
            (error.and_then(|error| error.cost_exceeded_at), budget.used)
        };
        prop_assert_eq!(run(max), run(max));
        let (stopped, used) = run(100_000);
        prop_assert_eq!(stopped, None);
        // A budget that suffices changes nothing; one unit less stops it.
        prop_assert_eq!(run(used), (None, used));
        if used > 1 {
            prop_assert!(run(used - 1).0.is_some());
        }
    }
}
