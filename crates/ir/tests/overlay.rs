//! Patches on definitions: by ids, in order, dropped again, and always to the same hash.
#![allow(clippy::unwrap_used)]

#[path = "support/random.rs"]
mod random;

use apex_ir::ir::Effect;
use apex_ir::overlay::{
    Operation, Patch, PatchLimits, Refusal, Resolved, Standing, conflicts, diff, materialize, nodes_added,
    read_operations, resolve, rollback, write_operations,
};
use apex_ir::value::parse;
use apex_ir::{FunctionSpec, FunctionTable, Ir, Limits, compile};
use proptest::prelude::*;
use random::Random;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// a → b → c, and m with x → y inside.
fn base() -> Vec<u8> {
    let function = |id: &str| json!({"id": id, "type": "function", "config": {"name": "f"}, "effect": "write"});
    let body = json!({"nodes": [function("x"), function("y")], "edges": [{"from": "x", "to": "y"}], "output": "${nodes.y.output}"});
    canonical(&json!({"name": "w", "version": "1",
        "nodes": [function("a"), function("b"), function("c"), {"id": "m", "type": "map", "config": {"over": [1], "body": body}}],
        "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c", "when": "nodes.b.output.ok"}]}))
}

fn canonical(definition: &Json) -> Vec<u8> {
    ok(definition).canonical.into()
}

fn ok(definition: &Json) -> Ir {
    compile(definition.to_string().as_bytes(), None, &Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn read(definition: &[u8]) -> Ir {
    compile(definition, None, &Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn made(definition: &[u8], patch: &Json, functions: Option<&FunctionTable>) -> Result<Resolved, Refusal> {
    let before = read(definition);
    resolve(&before, patch.to_string().as_bytes(), functions, &PatchLimits::default(), &Limits::default())
}

fn operations(definition: &[u8], patch: Json) -> Vec<Operation> {
    made(definition, &patch, None).unwrap_or_else(|refusal| panic!("{refusal:?}")).operations
}

/// What is logged.
fn text(operations: &[Operation]) -> String {
    String::from_utf8(write_operations(operations)).unwrap()
}

fn json_of(ir: &Ir) -> Json {
    serde_json::from_slice(&ir.canonical).unwrap()
}

/// `CODE pointer` of a refusal.
fn refused(patch: Json) -> Vec<String> {
    match made(&base(), &patch, None).unwrap_err() {
        Refusal::Shape(error) => vec![format!("{} {}", error.code, error.pointer)],
        Refusal::Meaning(faults) => faults.iter().map(|fault| format!("{} {}", fault.code, fault.pointer)).collect(),
    }
}

fn add(path: &str, value: Json) -> Json {
    json!({"op": "add", "path": path, "value": value})
}

fn join(id: &str) -> Json {
    json!({"id": id, "type": "join"})
}

#[test]
fn places_become_ids() {
    let patch = json!([
        add("/nodes/1", join("j")),
        add("/edges/-", json!({"from": "a", "to": "j"})),
        add("/nodes/2/timeout_s", json!(5)),
        {"op": "replace", "path": "/edges/1/when", "value": "true"},
        {"op": "remove", "path": "/nodes/4/config/body/nodes/1"},
        {"op": "remove", "path": "/nodes/4/config/body/edges/0"},
        {"op": "replace", "path": "/nodes/4/config/body/output", "value": "${nodes.x.output}"},
        add("/output", json!("${nodes.c.output}")),
    ]);
    assert_eq!(
        text(&operations(&base(), patch)),
        [
            r#"[{"edge":{"from":"x","to":"y"},"op":"remove_edge"},"#,
            r#"{"id":"y","op":"remove_node"},"#,
            r#"{"after":"a","node":{"id":"j","type":"join"},"op":"add_node"},"#,
            r#"{"at":"/output","op":"set","value":"${nodes.c.output}"},"#,
            r#"{"at":"/timeout_s","node":"b","op":"set","value":5},"#,
            r#"{"at":"/config/body/output","node":"m","op":"set","value":"${nodes.x.output}"},"#,
            r#"{"edge":{"from":"a","to":"j"},"op":"add_edge"},"#,
            r#"{"edge":{"from":"b","to":"c","when":"true"},"op":"replace_edge"}]"#,
        ]
        .concat()
    );
}

#[test]
fn the_body_of_a_request_is_data() {
    let definition = canonical(&json!({"name": "w", "version": "1", "nodes": [
        {"id": "h", "type": "http", "config": {"url": "https://example.com/", "body": {"nodes": [1]}}}]}));
    let patch = json!([{"op": "replace", "path": "/nodes/0/config/body/nodes/0", "value": 2}]);
    assert_eq!(
        text(&operations(&definition, patch)),
        r#"[{"at":"/config/body/nodes","node":"h","op":"set","value":[2]}]"#
    );
}

#[test]
fn another_type_or_another_graph_is_another_node() {
    let patch = json!([{"op": "replace", "path": "/nodes/3", "value": join("m")}]);
    let logged = text(&operations(&base(), patch));
    assert_eq!(
        logged,
        r#"[{"edge":{"from":"x","to":"y"},"op":"remove_edge"},{"id":"x","op":"remove_node"},{"id":"y","op":"remove_node"},{"id":"m","op":"remove_node"},{"node":{"id":"m","type":"join"},"op":"add_node"}]"#
    );
    let patch = json!([{"op": "copy", "from": "/nodes/2", "path": "/nodes/3/config/body/nodes/-"}, {"op": "remove", "path": "/nodes/2"}, {"op": "remove", "path": "/edges/1"}]);
    let logged = text(&operations(&base(), patch));
    assert!(
        logged.contains(r#"{"id":"c","op":"remove_node"}"#) && logged.contains(r#"{"body":"m","node":{"#),
        "{logged}"
    );
}

#[test]
fn a_refusal_names_gate_and_place() {
    assert_eq!(refused(json!([{"op": "remove", "path": "/nodes/9"}])), ["POINTER_NOT_FOUND /0/path"]);
    assert_eq!(refused(json!([{"op": "remove", "path": "/nodes/0"}])), ["UNKNOWN_REFERENCE /edges/0/from"]);
    assert_eq!(refused(json!([add("/edges/-", json!({"from": "c", "to": "a"}))])), ["CYCLE /edges/2"]);
    assert_eq!(refused(json!([add("/nodes/-", join("a"))])), ["DUPLICATE_ID /nodes/4/id"]);
    assert_eq!(
        refused(json!([{"op": "replace", "path": "/name", "value": "v"}, add("/inputs", json!({}))])),
        ["FIXED_MEMBER /name", "FIXED_MEMBER /inputs"]
    );
    assert_eq!(refused(json!([{"op": "replace", "path": "", "value": 1}]))[0], "FIXED_MEMBER /name");
    assert_eq!(refused(json!([{"op": "remove", "path": "/nodes"}]))[0], "MISSING_FIELD ");
}

#[test]
fn a_refusal_shows_the_beginning_of_a_long_pointer() {
    let long = "x".repeat(100_000);
    for patch in [
        json!([{"op": "remove", "path": format!("/{long}")}]),
        json!([{"op": "remove", "path": format!("/{long}/{long}")}]),
        json!([{"op": "remove", "path": format!("/nodes/{long}")}]),
        json!([{"op": "remove", "path": format!("/nodes/{}", "1".repeat(100_000))}]),
        json!([{"op": "remove", "path": long}]),
        json!([{"op": "remove", "path": format!("/{long}~2")}]),
        json!([add(&format!("/{long}"), json!(1)), {"op": "test", "path": format!("/{long}"), "value": 2}]),
        json!([add(&format!("/{long}"), json!({})), {"op": "move", "from": format!("/{long}"), "path": format!("/{long}/a")}]),
        json!([add(&format!("/nodes{}", "/x".repeat(100)), json!(1))]),
    ] {
        match made(&base(), &patch, None).unwrap_err() {
            Refusal::Shape(error) => assert!(error.message.len() < 500, "{} bytes", error.message.len()),
            Refusal::Meaning(faults) => panic!("{faults:?}"),
        }
    }
}

#[test]
fn functions_fill_in_what_a_patch_adds_and_nothing_else() {
    let spec = FunctionSpec { timeout_s: Some(7.0), effect: Some(Effect::Pure), ..FunctionSpec::default() };
    let table: FunctionTable = [("f".to_owned(), spec.clone()), ("g".to_owned(), spec)].into_iter().collect();
    let node = json!({"id": "n", "type": "function", "config": {"name": "g"}});
    let patch = json!([add("/nodes/-", node), add("/nodes/0/priority", json!("high"))]);
    let resolved = made(&base(), &patch, Some(&table)).unwrap();
    let after = json_of(&resolved.ir);
    assert_eq!(after["nodes"][4]["timeout_s"], 7);
    assert_eq!((&after["nodes"][4]["effect"], &after["nodes"][0]["priority"]), (&json!("pure"), &json!("high")));
    assert_eq!((after["nodes"][0].get("timeout_s"), after["nodes"][1].get("timeout_s")), (None, None));
    // The log needs no table any more.
    assert_eq!(
        materialize(&read(&base()), &[&resolved.operations], &Limits::default()).unwrap().hash,
        resolved.ir.hash
    );
    // A function that nobody registered is unknown, unless the definition calls it already.
    let unknown = json!([{"op": "replace", "path": "/nodes/0/config/name", "value": "h"}]);
    let Refusal::Meaning(faults) = made(&base(), &unknown, Some(&FunctionTable::new())).unwrap_err() else { panic!() };
    assert_eq!((faults[0].code, &*faults[0].pointer), ("UNKNOWN_FUNCTION", "/nodes/0/config/name"));
    assert!(made(&base(), &json!([add("/nodes/0/timeout_s", json!(1))]), Some(&FunctionTable::new())).is_ok());
    let called = json!([{"op": "replace", "path": "/nodes/0/config/name", "value": "g"}]);
    let after = json_of(&made(&base(), &called, Some(&table)).unwrap().ir);
    // What a node states stays as stated.
    assert_eq!((&after["nodes"][0]["effect"], &after["nodes"][0]["timeout_s"]), (&json!("write"), &json!(7)));
}

#[test]
fn a_compensation_that_is_given_the_input_is_given_the_new_one() {
    let spec = FunctionSpec { compensation: Some("undo".to_owned()), ..FunctionSpec::default() };
    let table = FunctionTable::from([("f".to_owned(), spec), ("undo".to_owned(), FunctionSpec::default())]);
    let call = |id: &str, more: Json| {
        let mut node = json!({"id": id, "type": "function", "config": {"name": "f"}, "input": {"to": "a", "day": 1}});
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node
    };
    let own = json!({"compensation": {"name": "undo", "input": {"to": "a"}}});
    let inside = json!({"id": "m", "type": "map", "config": {"over": [1], "body": {"nodes": [call("c", json!({}))]}}});
    let definition = json!({"name": "w", "version": "1", "nodes": [call("a", json!({})), call("b", own), inside]});
    let before = compile(definition.to_string().as_bytes(), Some(&table), &Limits::default()).unwrap();
    let undone = |ir: &Ir, at: &str| json_of(ir).pointer(&format!("{at}/compensation/input")).unwrap().clone();
    let (first, inner) = ("/nodes/0", "/nodes/2/config/body/nodes/0");
    for functions in [Some(&table), None] {
        let to = |at: &str| json!({"op": "replace", "path": format!("{at}/input/to"), "value": "z"});
        let patch = json!([to(first), to("/nodes/1"), to(inner)]);
        let resolved = made(&before.canonical, &patch, functions).unwrap();
        for (at, id) in [(first, "a"), (inner, "c")] {
            let output = format!("${{nodes[\"{id}\"].output}}");
            assert_eq!(undone(&resolved.ir, at), json!({"input": {"to": "z", "day": 1}, "output": output}));
        }
        assert_eq!(undone(&resolved.ir, "/nodes/1"), json!({"to": "a"}), "what a node states stays as stated");
        let again = materialize(&before, &[&resolved.operations], &Limits::default()).unwrap();
        assert_eq!(again.hash, resolved.ir.hash);
        let gone = made(&before.canonical, &json!([{"op": "remove", "path": "/nodes/0/input"}]), functions).unwrap();
        assert_eq!(undone(&gone.ir, first)["input"], json!({}));
        let both = json!([to(first), {"op": "replace", "path": "/nodes/0/compensation/input", "value": {"x": 1}}]);
        assert_eq!(undone(&made(&before.canonical, &both, functions).unwrap().ir, first), json!({"x": 1}));
    }
}

#[test]
fn patches_conflict_where_they_touch_the_same() {
    let of = |patch: Json| operations(&base(), patch);
    let found = |mine: &[Operation], theirs: &[Operation]| -> Vec<String> {
        conflicts(mine, &[theirs]).into_iter().map(|conflict| conflict.what).collect()
    };
    let timeout = of(json!([add("/nodes/0/timeout_s", json!(5))]));
    let name = of(json!([{"op": "replace", "path": "/nodes/0/config/name", "value": "g"}]));
    let no_m = of(json!([{"op": "remove", "path": "/nodes/3"}]));
    let in_m = of(json!([add("/nodes/3/config/body/nodes/-", join("z"))]));
    let output_of_m = of(json!([{"op": "replace", "path": "/nodes/3/config/body/output", "value": 1}]));
    let no_c = of(json!([{"op": "remove", "path": "/nodes/2"}, {"op": "remove", "path": "/edges/1"}]));
    let to_c = of(json!([add("/nodes/-", join("j")), add("/edges/-", json!({"from": "j", "to": "c"}))]));
    let guard = of(json!([{"op": "replace", "path": "/edges/1/when", "value": "true"}]));
    assert_eq!(found(&timeout, &name), Vec::<String>::new());
    assert_eq!(found(&timeout, &timeout), ["/timeout_s of a"]);
    assert_eq!(found(&in_m, &output_of_m), Vec::<String>::new());
    assert_eq!(found(&in_m, &no_m), ["/config/body/nodes of m"]);
    assert_eq!(found(&output_of_m, &no_m), ["/config/body/output of m"]);
    assert_eq!(found(&to_c, &no_c), ["the node c"]);
    assert_eq!(found(&no_c, &guard), ["the edge b → c", "the node c"]);
    assert_eq!(found(&guard, &to_c), Vec::<String>::new());
    let all = conflicts(&no_c, &[&timeout, &guard, &to_c]);
    assert_eq!(
        all.iter().map(|conflict| (conflict.operation, conflict.patch)).collect::<Vec<_>>(),
        [(0, 1), (1, 1), (1, 2)]
    );
    assert_eq!(
        nodes_added(&of(
            json!([add("/nodes/-", serde_json::from_slice::<Json>(&base()).unwrap()["nodes"][3].clone()), {"op": "replace", "path": "/nodes/4/id", "value": "k"}, {"op": "remove", "path": "/nodes/3"}])
        )),
        3
    );
}

#[test]
fn a_patch_is_dropped_where_nothing_stands_on_it() {
    let limits = Limits::default();
    let base = base();
    let step = |definition: &[u8], patch: Json| {
        let resolved = made(definition, &patch, None).unwrap();
        (resolved.operations, resolved.ir.canonical.to_vec())
    };
    let (added, one) = step(&base, json!([add("/nodes/-", join("j"))]));
    let (timeout, two) = step(&one, json!([add("/nodes/0/timeout_s", json!(5))]));
    let (edge, three) = step(&two, json!([add("/edges/-", json!({"from": "a", "to": "j"}))]));
    let (reads, _) = step(&three, json!([add("/output", json!("${nodes.j.status}"))]));
    let patches: [&[Operation]; 4] = [&added, &timeout, &edge, &reads];
    let stands = |patches: &[&[Operation]], which| match rollback(&read(&base), patches, which, &limits) {
        Err(Standing::Stands { patch, what }) => (patch, what),
        other => panic!("{other:?}"),
    };
    assert_eq!(stands(&patches, 0), (2, "the node j".to_owned()));
    // No operation of the last one names j: it does not compile without it.
    let without: [&[Operation]; 3] = [&added, &timeout, &reads];
    assert_eq!(stands(&without, 0), (2, "there is no node \"j\" (byte 0 of the expression)".to_owned()));
    let dropped = rollback(&read(&base), &patches, 1, &limits).unwrap();
    assert!(json_of(&dropped)["nodes"][0].get("timeout_s").is_none());
    assert_eq!(dropped.hash, materialize(&read(&base), &[&added, &edge, &reads], &limits).unwrap().hash);
    assert!(matches!(rollback(&read(&base), &patches, 4, &limits), Err(Standing::Unknown)));
    assert_eq!(rollback(&read(&base), &[&added], 0, &limits).unwrap().canonical.to_vec(), base);
}

#[test]
fn an_operation_that_does_not_fit_is_named() {
    let misfit = |logged: &str| {
        let operations = read_operations(logged.as_bytes()).unwrap();
        match materialize(&read(&base()), &[&operations], &Limits::default()) {
            Err(Refusal::Meaning(faults)) => faults[0].message.clone(),
            other => panic!("{other:?}"),
        }
    };
    for (logged, message) in [
        (r#"[{"op":"remove_node","id":"z"}]"#, r#"there is no node "z""#),
        (r#"[{"op":"move_node","id":"z"}]"#, r#"there is no node "z""#),
        (r#"[{"op":"add_node","body":"a","node":{"id":"z"}}]"#, r#"there is no body of "a""#),
        (r#"[{"op":"add_node","node":{"id":"x"}}]"#, r#"the node "x" is there already"#),
        (r#"[{"op":"remove_edge","edge":{"from":"a","to":"c"}}]"#, "there is no edge a → c"),
        (r#"[{"op":"replace_edge","edge":{"from":"a","to":"b","on":"error"}}]"#, "there is no edge a → b (on error)"),
        (r#"[{"op":"move_edge","edge":{"from":"a","to":"c"}}]"#, "there is no edge a → c"),
        (r#"[{"op":"add_edge","edge":{"from":"a","to":"b"}}]"#, "the edge a → b is there already"),
        (r#"[{"op":"add_edge","edge":{"from":"a","to":"x"}}]"#, "the ends of the edge a → x stand in two graphs"),
        (
            r#"[{"op":"set","node":"a","at":"/retry/max_attempts","value":1}]"#,
            r#""/retry/max_attempts" of "a" is not there"#,
        ),
        (r#"[{"op":"unset","node":"a","at":"/retry"}]"#, r#""/retry" of "a" is not there"#),
        (r#"[{"op":"set","node":"a","at":"/id","value":"b"}]"#, r#"a member of "a" cannot change its id or its body"#),
        (
            r#"[{"op":"set","node":"a","at":"/type","value":"map"},{"op":"set","node":"a","at":"/config","value":{"body":{}}}]"#,
            r#"a member of "a" cannot change its id or its body"#,
        ),
        (r#"[{"op":"unset","node":"m","at":"/config/body"}]"#, r#"a member of "m" cannot change its id or its body"#),
        (
            r#"[{"op":"set","node":"m","at":"/config/body/nodes","value":[]}]"#,
            r#"a member of "m" cannot change its id or its body"#,
        ),
        (r#"[{"op":"set","at":"/nodes","value":[]}]"#, "nodes and edges are added and removed by their ids"),
        (r#"[{"op":"set","at":"","value":[]}]"#, "a member is set, not the whole"),
    ] {
        assert_eq!(misfit(logged), message, "{logged}");
    }
    for wrong in ["[1]", r#"[{"op":"x"}]"#, r#"[{"op":"set","node":"a"}]"#, r#"[{"op":"add_node","node":{}}]"#, "["] {
        assert!(read_operations(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

/// An empty list of edges says what none says.
fn without_empty_edges(definition: &Json) -> Json {
    let mut definition = definition.clone();
    let mut open = vec![&mut definition];
    while let Some(value) = open.pop() {
        match value {
            Json::Object(map) => {
                if map.get("edges").is_some_and(|edges| edges.as_array().is_some_and(Vec::is_empty)) {
                    map.remove("edges");
                }
                open.extend(map.values_mut());
            }
            Json::Array(items) => open.extend(items),
            _ => {}
        }
    }
    definition
}

/// With every list of nodes and edges in one order.
fn in_order(definition: &Json) -> Json {
    let mut definition = without_empty_edges(definition);
    let mut open = vec![&mut definition];
    while let Some(value) = open.pop() {
        match value {
            Json::Object(map) => {
                for name in ["nodes", "edges"] {
                    if let Some(list) = map.get_mut(name).and_then(Json::as_array_mut) {
                        list.sort_by_key(|item| {
                            [&item["id"], &item["from"], &item["to"], &item["on"]].map(Json::to_string)
                        });
                    }
                }
                open.extend(map.values_mut());
            }
            Json::Array(items) => open.extend(items),
            _ => {}
        }
    }
    definition
}

/// The patch from one definition to another, resolved.
fn step(before: &Ir, after: &Json) -> Resolved {
    let value = |json: &[u8]| parse(json, &Default::default()).unwrap();
    let patch = diff(&value(&before.canonical), &value(after.to_string().as_bytes()));
    let mut out = Vec::new();
    patch.to_value().write(&mut out);
    let limits = PatchLimits { carried_max: usize::MAX, ..PatchLimits::default() };
    resolve(before, &out, None, &limits, &Limits::default()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// Everything of an IR that a run sees.
fn laid_out(ir: &Ir) -> String {
    let ids: Vec<_> = ir.nodes.iter().map(|node| ir.node(&node.id)).collect();
    let canonical = String::from_utf8_lossy(&ir.canonical);
    let timeouts = (ir.timeout_ns, ir.compensation_timeout_ns);
    let whole = (ir.hash, &ir.name, &ir.version, canonical, &ir.inputs_schema, timeouts, &ir.functions);
    format!("{whole:#?} {ids:?} {:#?} {:#?} {:?} {:#?}", ir.nodes, ir.edges, ir.in_edges, ir.graphs)
}

/// Resolves a patch, and checks that it makes what the compiler makes of the whole, by the operations that the whole
/// document sent as one value comes to, or is refused as that is.
fn agreed(ir: &Ir, patch: &str, functions: Option<&FunctionTable>, limits: &Limits) -> Option<Resolved> {
    let deep = PatchLimits { depth_max: 120, ..PatchLimits::default() };
    let after = Patch::parse(patch.as_bytes(), &deep).unwrap();
    let after = after.apply(&parse(&ir.canonical, &Default::default()).unwrap(), &deep);
    let mut whole = Vec::new();
    after.unwrap_or_else(|error| panic!("{patch}: {error:?}")).write_canonical(&mut whole);
    let whole = format!(r#"[{{"op":"replace","path":"","value":{}}}]"#, String::from_utf8(whole).unwrap());
    let made = |patch: &str| resolve(ir, patch.as_bytes(), functions, &deep, limits);
    match (made(patch), made(&whole)) {
        (Ok(resolved), Ok(of_whole)) => {
            let compiled = compile(&resolved.ir.canonical, None, limits);
            let compiled = compiled.unwrap_or_else(|faults| panic!("{patch} makes what does not compile: {faults:#?}"));
            let wanted = laid_out(&compiled);
            assert_eq!(laid_out(&resolved.ir), wanted, "{patch}");
            assert_eq!(text(&resolved.operations), text(&of_whole.operations), "{patch}");
            assert_eq!(of_whole.ir.canonical, compiled.canonical, "{patch}");
            let again = materialize(ir, &[&resolved.operations], limits).unwrap();
            assert_eq!(laid_out(&again), wanted, "{patch}");
            Some(resolved)
        }
        (Err(one), Err(other)) => {
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{patch}");
            None
        }
        (one, other) => panic!("{patch}: {one:#?} {other:#?}"),
    }
}

/// Members in no order, escapes, numbers in several forms, ids that expressions name in brackets.
const WRITTEN_ANYHOW: &str = r#"{"version": "1", "nodes": [
    {"type": "function", "id": "a", "config": {"name": "f"}, "input": {"z": 1e2, "a": [1.0, -0, -0.0, 1E+2], "\u0041\n": "\u00e9\/\ud83d\ude00 ${inputs.x}"}},
    {"id": "b.c-d", "type": "function", "config": {"name": "g", "config": {"b": 1, "a": {"secret": "k"}}}, "timeout_s": 1e0,
     "input": {"y": "${nodes.a.output.p}", "x": "${nodes[\"a\"].output.p.q}"}, "compensation": {"name": "u"}},
    {"id": "m", "type": "map", "config": {"body": {"output": "${nodes.x.output}", "nodes": [
        {"id": "x", "type": "function", "config": {"name": "f"}, "input": {"i": "${item}", "a": "${nodes.a.output.r}"}},
        {"id": "n", "type": "loop", "config": {"max_iterations": 3, "while": "iteration < 2", "body": {"nodes": [{"type": "join", "id": "y"}], "edges": []}}}],
        "edges": [{"to": "n", "from": "x", "when": "nodes.x.status == 'ok'"}]}, "over": [1]}},
    {"id": "l", "type": "loop", "config": {"body": {"nodes": [{"id": "w", "type": "join"}]}, "while": "iteration < 1", "max_iterations": 2}},
    {"id": "j", "type": "join", "join": {"quorum": 1}, "cancel_rest": true},
    {"id": "h", "type": "http", "config": {"url": "https://example.com/", "headers": {"X-b": "1", "X-a": {"secret": "t"}}, "expect_status": [204, 200]}}],
  "name": "w", "timeout_s": 6e1, "output": {"z": "${nodes.m.output}", "a": "${nodes[\"b.c-d\"].output}"},
  "inputs": {"type": "object", "additionalProperties": false, "properties": {"x": {}}},
  "edges": [{"to": "b.c-d", "from": "a"}, {"when": "nodes.a.output.go", "from": "a", "to": "m"}, {"from": "b.c-d", "to": "j"},
    {"from": "m", "to": "j"}, {"from": "a", "to": "h", "on": "error"}, {"from": "m", "to": "l"}]}"#;

#[test]
fn whatever_way_a_patch_goes_it_makes_what_the_whole_makes() {
    let patches = [
        // Values that stand twice, and what is made of them.
        r#"[{"op":"copy","from":"/nodes/0","path":"/nodes/-"}]"#,
        r#"[{"op":"copy","from":"/edges/1","path":"/edges/0"}]"#,
        r#"[{"op":"copy","from":"/nodes/1","path":"/nodes/0"},{"op":"replace","path":"/nodes/0/id","value":"b2"},{"op":"copy","from":"/edges/0","path":"/edges/-"},{"op":"replace","path":"/edges/6/to","value":"b2"}]"#,
        r#"[{"op":"copy","from":"/nodes/0","path":"/nodes/-"},{"op":"remove","path":"/nodes/0"}]"#,
        r#"[{"op":"copy","from":"/nodes/2/config/body/nodes/0","path":"/nodes/3/config/body/nodes/-"},{"op":"replace","path":"/nodes/3/config/body/nodes/1/id","value":"x2"},{"op":"replace","path":"/nodes/3/config/body/nodes/1/input","value":{}}]"#,
        // The order of lists, and nothing else.
        r#"[{"op":"move","from":"/nodes/5","path":"/nodes/0"}]"#,
        r#"[{"op":"move","from":"/edges/5","path":"/edges/0"},{"op":"move","from":"/edges/1","path":"/edges/4"}]"#,
        r#"[{"op":"move","from":"/nodes/3","path":"/nodes/2"}]"#,
        r#"[{"op":"move","from":"/nodes/0","path":"/nodes/2"},{"op":"move","from":"/nodes/4","path":"/nodes/1"},{"op":"move","from":"/nodes/3","path":"/nodes/5"}]"#,
        // The same id again.
        r#"[{"op":"remove","path":"/nodes/5"},{"op":"add","path":"/nodes/0","value":{"id":"h","type":"timer","config":{"duration_s":1.0}}}]"#,
        r#"[{"op":"replace","path":"/nodes/4","value":{"id":"j","type":"join"}}]"#,
        r#"[{"op":"replace","path":"/nodes/5/id","value":"j"},{"op":"replace","path":"/nodes/4/id","value":"h"}]"#,
        r#"[{"op":"replace","path":"/nodes/5/id","value":"x"}]"#,
        r#"[{"op":"replace","path":"/nodes/4/id","value":"gone"}]"#,
        r#"[{"op":"replace","path":"/nodes/2/config/body/nodes/0/id","value":"h2"}]"#,
        // Between graphs.
        r#"[{"op":"remove","path":"/edges/4"},{"op":"move","from":"/nodes/5","path":"/nodes/3/config/body/nodes/0"}]"#,
        r#"[{"op":"move","from":"/nodes/3/config/body/nodes/0","path":"/nodes/0"},{"op":"add","path":"/nodes/4/config/body/nodes/-","value":{"id":"w2","type":"join"}}]"#,
        r#"[{"op":"move","from":"/nodes/2/config/body/nodes/1","path":"/nodes/3/config/body/nodes/-"},{"op":"remove","path":"/nodes/2/config/body/edges"}]"#,
        r#"[{"op":"copy","from":"/nodes/2/config/body","path":"/nodes/3/config/body"},{"op":"replace","path":"/nodes/2/config/body","value":{"nodes":[{"id":"w","type":"join"}]}},{"op":"replace","path":"/nodes/3/config/body/nodes/0/input","value":{}}]"#,
        r#"[{"op":"move","from":"/nodes/3","path":"/nodes/2/config/body/nodes/0"},{"op":"remove","path":"/edges/5"}]"#,
        r#"[{"op":"move","from":"/edges/5","path":"/nodes/3/config/body/edges"}]"#,
        // Edges that go, come, or lead elsewhere.
        r#"[{"op":"replace","path":"/edges/5/to","value":"h"}]"#,
        r#"[{"op":"replace","path":"/edges/5/from","value":"w"}]"#,
        r#"[{"op":"replace","path":"/edges/2/to","value":"h"},{"op":"replace","path":"/edges/3/to","value":"h"},{"op":"replace","path":"/nodes/4/join","value":"all"}]"#,
        r#"[{"op":"add","path":"/edges/0/on","value":"error"}]"#,
        r#"[{"op":"replace","path":"/edges/3","value":7}]"#,
        r#"[{"op":"replace","path":"/nodes/4","value":[]}]"#,
        r#"[{"op":"add","path":"/edges/0/when","value":"false"}]"#,
        // Members of the workflow.
        r#"[{"op":"replace","path":"/output","value":{"a":"${nodes.a.output}"}}]"#,
        r#"[{"op":"remove","path":"/output"}]"#,
        r#"[{"op":"add","path":"/compensation_timeout_s","value":1.5e0}]"#,
        // Inputs are closed.
        r#"[{"op":"add","path":"/nodes/0/input/q","value":"${inputs.unknown}"}]"#,
        r#"[{"op":"add","path":"/nodes/0/input/q","value":"${inputs.x.y}"}]"#,
        r#"[{"op":"add","path":"/nodes/0/input/\n\"~1","value":"\\ \" \u0001 $${ 1e400"}]"#,
        r#"[{"op":"replace","path":"/nodes/0/input/z","value":100.0}]"#,
        r#"[{"op":"replace","path":"/nodes/0/input/z","value":100}]"#,
        r#"[{"op":"add","path":"/nodes/2/config/over","value":[1.0]}]"#,
        // Lists that are not there.
        r#"[{"op":"replace","path":"/edges","value":[]},{"op":"replace","path":"/nodes","value":[{"id":"h","type":"join"}]},{"op":"remove","path":"/output"}]"#,
        r#"[{"op":"remove","path":"/edges"},{"op":"replace","path":"/nodes","value":[{"id":"h","type":"join"}]},{"op":"remove","path":"/output"}]"#,
        r#"[{"op":"replace","path":"/nodes","value":[]}]"#,
        r#"[{"op":"replace","path":"/nodes/0","value":{"id":"a","type":"map","config":{"over":[],"body":{"nodes":[{"id":"a_","type":"join"}]}}}},{"op":"remove","path":"/nodes/1/input"},{"op":"remove","path":"/nodes/2/config/body/nodes/0/input/a"},{"op":"remove","path":"/edges/1/when"}]"#,
    ];
    let base =
        compile(WRITTEN_ANYHOW.as_bytes(), None, &Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let spec = FunctionSpec { timeout_s: Some(3.0), compensation: Some("g".to_owned()), ..FunctionSpec::default() };
    let table = FunctionTable::from([("f".to_owned(), spec.clone()), ("g".to_owned(), spec)]);
    let limits = Limits::default();
    let mut taken = 0;
    for patch in patches {
        for functions in [None, Some(&table)] {
            taken += usize::from(agreed(&base, patch, functions, &limits).is_some());
        }
    }
    assert_eq!(taken, 58, "12 of them are refused, with functions or without");
    // And one after another, as far as they go.
    for seed in 0..40 {
        let (random, mut ir) = (&mut Random(seed), read(&base.canonical));
        for _ in 0..10 {
            let patch = random.pick(&patches);
            let fits = Patch::parse(patch.as_bytes(), &PatchLimits::default()).unwrap();
            if fits.apply(&parse(&ir.canonical, &Default::default()).unwrap(), &PatchLimits::default()).is_ok() {
                ir = agreed(&ir, patch, None, &limits).map_or(ir, |resolved| resolved.ir);
            }
        }
    }
}

/// What a definition needs is what it says: as much is taken, and one less is too little.
#[test]
fn limits_hold_at_the_border_for_a_part_as_for_the_whole() {
    let base = read(&base());
    let spec = FunctionSpec { timeout_s: Some(7.0), compensation: Some("f".to_owned()), ..FunctionSpec::default() };
    let table = FunctionTable::from([("f".to_owned(), spec.clone()), ("g".to_owned(), spec)]);
    let call = json!({"id": "n", "type": "function", "config": {"name": "g"}, "input": {"deep": [[[[[[[1]]]]]]]}});
    let map = json!({"id": "k", "type": "map", "config": {"over": [], "body": {"nodes": [call]}}});
    let patches = [
        json!([add("/nodes/-", call.clone()), add("/edges/-", json!({"from": "a", "to": "n"}))]),
        json!([add("/nodes/0", map), add("/edges/0", json!({"from": "a", "to": "c"}))]),
    ];
    for patch in patches {
        let patch = patch.to_string();
        for functions in [None, Some(&table)] {
            let made = agreed(&base, &patch, functions, &Limits::default()).unwrap().ir;
            let text = &*made.canonical;
            let depth = text.iter().fold((0_usize, 0), |(depth, most), byte| match byte {
                b'{' | b'[' => (depth + 1, most.max(depth + 1)),
                b'}' | b']' => (depth - 1, most),
                _ => (depth, most),
            });
            let exact = Limits {
                bytes_max: text.len(),
                nodes_max: made.nodes.len(),
                edges_max: made.edges.len(),
                depth_max: depth.1,
                ..Limits::default()
            };
            assert!(agreed(&base, &patch, functions, &exact).is_some(), "{patch}");
            for less in [
                Limits { bytes_max: exact.bytes_max - 1, ..exact.clone() },
                Limits { nodes_max: exact.nodes_max - 1, ..exact.clone() },
                Limits { edges_max: exact.edges_max - 1, ..exact.clone() },
                Limits { depth_max: exact.depth_max - 1, ..exact.clone() },
            ] {
                assert!(agreed(&base, &patch, functions, &less).is_none(), "{patch} {less:?}");
            }
        }
    }
}

/// What functions became since is nothing to nodes that a patch leaves alone, however much of the rest is read again.
#[test]
fn what_a_patch_leaves_alone_is_not_judged_by_the_functions_of_now() {
    let now = FunctionSpec { compensation: Some("nobody".to_owned()), ..FunctionSpec::default() };
    let table = FunctionTable::from([("f".to_owned(), now)]);
    let inside = json!({"id": "k", "type": "map", "config": {"over": [], "body": {"nodes": [join("i")]}}});
    for patch in [add("/nodes/-", join("n")), add("/nodes/-", inside), add("/nodes/0/priority", json!("high"))] {
        assert!(made(&base(), &json!([patch]), Some(&table)).is_ok(), "{patch}");
    }
    // A node that calls it from now on does.
    let call = json!({"id": "n", "type": "function", "config": {"name": "f"}});
    assert!(made(&base(), &json!([add("/nodes/-", call)]), Some(&table)).is_err());
}

/// A definition shares what is the same with those before it, and keeps none of them alive.
#[test]
fn a_long_chain_of_patches_holds_nothing_that_is_gone() {
    let first = read(&base());
    let step = |ir: &Ir, id: &str| ir.nodes[ir.node(id).unwrap() as usize].step.clone();
    let (changed, stays) = (Arc::downgrade(&step(&first, "a")), Arc::downgrade(&step(&first, "y")));
    let guard = Arc::downgrade(first.edges.iter().find_map(|edge| edge.when.as_ref()).unwrap());
    let mut ir = first;
    for number in 1..=1_000 {
        let patch = json!([add("/nodes/0/timeout_s", json!(number))]).to_string();
        let patched = resolve(&ir, patch.as_bytes(), None, &PatchLimits::default(), &Limits::default()).unwrap().ir;
        assert_eq!((stays.strong_count(), guard.strong_count()), (2, 2), "shared by both");
        ir = patched;
    }
    assert_eq!((changed.strong_count(), stays.strong_count(), guard.strong_count()), (0, 1, 1));
    assert_eq!(step(&ir, "a").timeout_ns, Some(1_000_000_000_000));
}

/// A chain of calls with a map in it, as authors of patches meet it: each call reads the one before.
fn chain(random: &mut Random) -> Ir {
    let call = |i: usize| {
        let input = if i == 0 { "${inputs.x}".into() } else { format!("${{nodes.c{}.output.y}}", i - 1) };
        json!({"id": format!("c{i}"), "type": "function", "config": {"name": "f"}, "input": {"x": input}})
    };
    let count = 8 + random.below(8);
    let mut nodes: Vec<Json> = (0..count).map(call).collect();
    let body = json!({"nodes": [join("x"), join("y")], "edges": [{"from": "x", "to": "y"}]});
    let at = random.below(count);
    nodes.insert(at, json!({"id": "m", "type": "map", "config": {"over": "${inputs.list}", "body": body}}));
    let edge = |i: usize| json!({"from": format!("c{}", i - 1), "to": format!("c{i}"), "when": format!("nodes.c{}.status == 'ok'", i - 1)});
    let edges: Vec<Json> = (1..count).map(edge).collect();
    let inputs =
        json!({"type": "object", "properties": {"x": {}, "list": {"type": "array"}}, "additionalProperties": false});
    ok(&json!({"name": "w", "version": "1", "inputs": inputs, "nodes": nodes, "edges": edges, "timeout_s": 60}))
}

/// What an author might do to it, in a way that may be refused.
fn edited(random: &mut Random, ir: &Ir, number: usize) -> Json {
    let definition = json_of(ir);
    let (nodes, edges) = (definition["nodes"].as_array().unwrap(), definition["edges"].as_array().unwrap());
    let (node, edge) = (random.below(nodes.len()), random.below(edges.len()));
    let read = nodes[node]["id"].as_str().unwrap().to_owned();
    let (id, input) = (format!("p{number}"), json!({"x": format!("${{nodes.{read}.output}}")}));
    let call = json!({"id": id, "type": "function", "config": {"name": "g"}, "input": input});
    let to = nodes[random.below(nodes.len())]["id"].clone();
    match random.below(9) {
        0 | 1 => json!([
            add(&format!("/nodes/{node}"), call),
            add("/edges/-", json!({"from": read, "to": id})),
            add(&format!("/edges/{edge}"), json!({"from": id, "to": to, "when": "inputs.x > 1"})),
        ]),
        2 => json!([{"op": "remove", "path": format!("/nodes/{node}")}]),
        3 => json!([{"op": "remove", "path": format!("/edges/{edge}")}]),
        4 => json!([add(&format!("/nodes/{node}/input"), input)]),
        5 => json!([
            add(&format!("/nodes/{node}/join"), json!({"quorum": 1})),
            add(&format!("/nodes/{node}/cancel_rest"), json!(true))
        ]),
        6 => {
            json!([{"op": "move", "from": format!("/nodes/{node}"), "path": "/nodes/-"}, {"op": "move", "from": format!("/edges/{edge}"), "path": "/edges/0"}])
        }
        7 => json!([add(
            "/nodes/-",
            json!({"id": id, "type": "map", "config": {"over": [1], "body": {"nodes": [join(&format!("q{number}"))]}}})
        )]),
        _ => json!([add(&format!("/edges/{edge}/when"), json!(format!("nodes.{read}.output.z.k")))]),
    }
}

fn changed(random: &mut Random, definition: &Json) -> Json {
    let mut after = definition.clone();
    for _ in 0..1 + random.below(4) {
        random::change(random, &mut after);
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn ids_say_what_places_said(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let before = random::definition(random);
        let after = changed(random, &before);
        let (base, wanted) = (ok(&before), ok(&after));
        let resolved = step(&base, &after);
        prop_assert_eq!(without_empty_edges(&json_of(&resolved.ir)), without_empty_edges(&json_of(&wanted)));
        // Base and operations give the same hash, from memory and from the log.
        let logged = write_operations(&resolved.operations);
        let read = read_operations(&logged).unwrap();
        prop_assert_eq!(write_operations(&read), logged);
        let again = materialize(&base, &[&read], &Limits::default()).unwrap();
        prop_assert_eq!((again.hash, &again.canonical), (resolved.ir.hash, &resolved.ir.canonical));
        // The same patch again resolves to nothing.
        prop_assert!(step(&again, &after).operations.is_empty());
    }

    /// A patch reads only what it changed: the definition, the one after it and so on are the same as compiled whole.
    #[test]
    fn what_is_compiled_in_part_is_what_is_compiled_whole(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let mut ir = ok(&random::definition(random));
        for _ in 0..4 {
            let after = changed(random, &json_of(&ir));
            let resolved = step(&ir, &after);
            let whole = read(&resolved.ir.canonical);
            prop_assert_eq!(laid_out(&resolved.ir), laid_out(&whole));
            ir = resolved.ir;
        }
    }

    /// So it is with patches as authors write them; and what is refused is refused for the same reasons.
    #[test]
    fn a_patch_of_a_part_makes_what_the_whole_makes(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let mut ir = chain(random);
        let functions = FunctionTable::from([
            ("f".to_owned(), FunctionSpec { timeout_s: Some(3.0), ..FunctionSpec::default() }),
            ("g".to_owned(), FunctionSpec { effect: Some(Effect::Read), ..FunctionSpec::default() }),
        ]);
        for number in 0..4 {
            let functions = (random.below(2) == 0).then_some(&functions);
            let patch = edited(random, &ir, number).to_string();
            ir = agreed(&ir, &patch, functions, &Limits::default()).map_or(ir, |resolved| resolved.ir);
        }
    }

    #[test]
    fn patches_apply_in_order_and_the_last_one_is_dropped_without_a_trace(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let mut definition = random::definition(random);
        let base = ok(&definition);
        let (mut irs, mut patches) = (vec![ok(&definition)], Vec::new());
        for _ in 0..4 {
            definition = changed(random, &json_of(irs.last().unwrap()));
            let resolved = step(irs.last().unwrap(), &definition);
            patches.push(resolved.operations);
            irs.push(resolved.ir);
        }
        let limits = Limits::default();
        let lists: Vec<&[Operation]> = patches.iter().map(Vec::as_slice).collect();
        for end in 0..=lists.len() {
            prop_assert_eq!(laid_out(&materialize(&base, &lists[..end], &limits).unwrap()), laid_out(&irs[end]));
        }
        prop_assert_eq!(rollback(&base, &lists, 3, &limits).unwrap().hash, irs[3].hash);
        for which in 0..3 {
            let rest: Vec<&[Operation]> = lists.iter().enumerate().filter(|(at, _)| *at != which).map(|(_, list)| *list).collect();
            match rollback(&base, &lists, which, &limits) {
                Ok(ir) => prop_assert_eq!(materialize(&base, &rest, &limits).unwrap().hash, ir.hash),
                Err(Standing::Stands { patch, .. }) => prop_assert!(patch > which && patch < 4),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn patches_without_conflict_commute(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let definition = random::definition(random);
        let base = ok(&definition);
        let limits = Limits::default();
        let mine = step(&base, &changed(random, &definition)).operations;
        let theirs = step(&base, &changed(random, &definition)).operations;
        let found = conflicts(&mine, &[&theirs]);
        prop_assert_eq!(found.is_empty(), conflicts(&theirs, &[&mine]).is_empty(), "a conflict has two sides");
        if found.is_empty() {
            let one = materialize(&base, &[&theirs, &mine], &limits);
            let other = materialize(&base, &[&mine, &theirs], &limits);
            match (one, other) {
                (Ok(one), Ok(other)) => prop_assert_eq!(in_order(&json_of(&one)), in_order(&json_of(&other))),
                (Err(Refusal::Meaning(one)), Err(Refusal::Meaning(other))) => {
                    // Together they make no definition (a cycle); but each operation fits.
                    prop_assert!(one.iter().chain(&other).all(|fault| fault.code != "MISFIT"), "{:?}", one);
                }
                (one, other) => prop_assert!(false, "{:?} {:?}", one.is_ok(), other.is_ok()),
            }
        }
    }
}

mod security {
    use super::*;
    use apex_ir::overlay::{Allowed, Grant, check_approvals, check_security};

    fn definition() -> Vec<u8> {
        canonical(&json!({"name": "w", "version": "1", "nodes": [
            {"id": "f", "type": "function", "config": {"name": "f", "config": {"key": {"secret": "k"}}}, "effect": "read", "rate_limit": {"count": 1, "per_s": 1}},
            {"id": "h", "type": "http", "config": {"url": "https://a.example/", "headers": {"x": {"secret": "token"}}}},
            {"id": "p", "type": "http", "config": {"url": "https://b.example/", "method": "POST"}, "effect": "read"},
            {"id": "g", "type": "agent", "config": {"prompt": "?"}}]}))
    }

    /// `CODE pointer` of what is refused.
    fn refused(patch: Json, grant: &Grant) -> Vec<String> {
        let resolved = made(&definition(), &patch, None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let before = compile(&definition(), None, &Limits::default()).unwrap();
        let found = check_security(&before, &resolved, None, grant);
        assert!(check_security(&before, &resolved, None, &Grant::all()).is_empty());
        found.iter().map(|fault| format!("{} {}", fault.code, fault.pointer)).collect()
    }

    fn none(patch: Json) -> Vec<String> {
        refused(patch, &Grant::default())
    }

    fn http(url: &str, more: Json) -> Json {
        let mut config = json!({"url": url});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([add("/nodes/-", json!({"id": "n", "type": "http", "config": config}))])
    }

    #[test]
    fn a_host_needs_a_grant_unless_it_is_reached_already() {
        assert!(none(http("https://A.example/other?x=1", json!({}))).is_empty());
        assert_eq!(none(http("https://a.example:8443/", json!({}))), ["HOST_NOT_ALLOWED /nodes/4/config/url"]);
        assert_eq!(none(http("https://a.example.evil/", json!({}))), ["HOST_NOT_ALLOWED /nodes/4/config/url"]);
        let moved = json!([{"op": "replace", "path": "/nodes/2/config/url", "value": "https://c.example/"}]);
        assert_eq!(none(moved.clone()), ["HOST_NOT_ALLOWED /nodes/2/config/url", "EFFECT_WEAKENED /nodes/2/effect"]);
        let hosts = Allowed::Only(["c.example".to_owned()].into());
        assert_eq!(refused(moved, &Grant { hosts, ..Grant::default() }), ["EFFECT_WEAKENED /nodes/2/effect"]);
    }

    #[test]
    fn a_secret_stays_with_those_who_have_it() {
        let header = json!({"headers": {"x": {"secret": "token"}}});
        assert!(none(http("https://a.example/", header.clone())).is_empty());
        assert_eq!(none(http("https://b.example/", header.clone())), ["SECRET_GAINED /nodes/4/config"]);
        assert_eq!(none(http("http://a.example/", header)), ["SECRET_GAINED /nodes/4/config"]);
        let moved = json!([{"op": "replace", "path": "/nodes/1/config/url", "value": "https://b.example/"}]);
        assert_eq!(none(moved), ["SECRET_GAINED /nodes/1/config"]);
        let function = |name: &str, secret: &str| {
            let config = json!({"name": name, "config": {"deep": [{"secret": secret}]}});
            let rate = json!({"count": 1, "per_s": 1});
            json!([add("/nodes/-", json!({"id": "n", "type": "function", "config": config, "rate_limit": rate}))])
        };
        assert!(none(function("f", "k")).is_empty());
        assert_eq!(none(function("f", "token")), ["SECRET_GAINED /nodes/4/config"]);
        assert_eq!(
            none(function("e", "k")),
            ["FUNCTION_NOT_ALLOWED /nodes/4/config/name", "SECRET_GAINED /nodes/4/config"]
        );
        // In data it is no secret.
        assert!(none(json!([add("/nodes/0/input", json!({"x": {"secret": "other"}}))])).is_empty());
    }

    #[test]
    fn nothing_becomes_weaker_and_nobody_gains() {
        assert_eq!(
            none(json!([{"op": "replace", "path": "/nodes/0/effect", "value": "pure"}])),
            ["EFFECT_WEAKENED /nodes/0/effect"]
        );
        assert!(none(json!([{"op": "replace", "path": "/nodes/0/effect", "value": "write"}])).is_empty());
        assert_eq!(
            none(json!([{"op": "remove", "path": "/nodes/0/rate_limit"}])),
            ["PRIVILEGE_GAINED /nodes/0/rate_limit"]
        );
        assert_eq!(
            none(json!([add("/nodes/3/config/may_patch", json!(true))])),
            ["PRIVILEGE_GAINED /nodes/3/config/may_patch"]
        );
        assert_eq!(
            none(json!([add("/nodes/3/config/model", json!("large"))])),
            ["MODEL_NOT_ALLOWED /nodes/3/config/model"]
        );
        let compensation = json!([add("/nodes/1/compensation", json!({"name": "drop_all", "input": {}}))]);
        assert_eq!(none(compensation), ["FUNCTION_NOT_ALLOWED /nodes/1/config/name"]);
        let inside = json!({"id": "m", "type": "map", "config": {"over": [], "body": {"nodes": [
            {"id": "c", "type": "composite", "config": {"workflow": "other", "tag": "main"}, "effect": "pure"}]}}});
        assert_eq!(
            none(json!([add("/nodes/-", inside)])),
            [
                "WORKFLOW_NOT_ALLOWED /nodes/4/config/body/nodes/0/config/workflow",
                "EFFECT_WEAKENED /nodes/4/config/body/nodes/0/effect"
            ]
        );
        assert!(none(json!([{"op": "remove", "path": "/nodes/1"}, add("/nodes/0/timeout_s", json!(1))])).is_empty());
        let send = json!({"id": "s", "type": "signal", "config": {"name": "x", "send": {"run_id": "${inputs.run}", "payload": 1}}});
        assert_eq!(none(json!([add("/nodes/-", send)])), ["PRIVILEGE_GAINED /nodes/4/config/send"]);
    }

    #[test]
    fn a_person_is_not_taken_out_of_the_way() {
        let gated = canonical(&json!({"name": "w", "version": "1",
            "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}}, join("ship"), join("late")],
            "edges": [{"from": "ask", "to": "ship", "when": "nodes.ask.output.approved"}]}));
        let before = compile(&gated, None, &Limits::default()).unwrap();
        let codes = |patch: Json| -> Vec<&'static str> {
            let resolved = made(&gated, &patch, None).unwrap();
            check_security(&before, &resolved, None, &Grant::default()).iter().map(|fault| fault.code).collect()
        };
        for patch in [
            json!([{"op": "remove", "path": "/edges/0"}]),
            json!([{"op": "remove", "path": "/edges/0/when"}]),
            json!([{"op": "remove", "path": "/edges/0"}, {"op": "replace", "path": "/nodes/0", "value": join("ask")}]),
            json!([add("/nodes/0/config/on_timeout", json!("approve")), add("/nodes/0/config/timeout_s", json!(1))]),
            json!([add("/edges/-", json!({"from": "ask", "to": "late"}))]),
        ] {
            let found = codes(patch.clone());
            assert!(!found.is_empty() && found.iter().all(|code| *code == "PRIVILEGE_GAINED"), "{patch}: {found:?}");
        }
        assert!(codes(json!([add("/edges/-", json!({"from": "ship", "to": "late"}))])).is_empty());
    }

    #[test]
    fn a_guard_that_reads_what_a_person_decided_stays() {
        let gated = canonical(&json!({"name": "w", "version": "1",
            "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}}, join("pack"), join("ship"), join("other")],
            "edges": [{"from": "ask", "to": "pack"}, {"from": "pack", "to": "ship", "when": "nodes.ask.output.approved"},
                {"from": "pack", "to": "other", "when": "inputs.x == 1"}]}));
        let before = compile(&gated, None, &Limits::default()).unwrap();
        let found = |patch: Json| {
            let resolved = made(&gated, &patch, None).unwrap();
            check_security(&before, &resolved, None, &Grant::default())
        };
        for patch in [
            json!([{"op": "remove", "path": "/edges/1"}]),
            json!([{"op": "remove", "path": "/edges/1/when"}]),
            json!([{"op": "replace", "path": "/edges/1/when", "value": "nodes.ask.output.approved || true"}]),
            json!([{"op": "remove", "path": "/nodes/0"}, {"op": "remove", "path": "/edges/0"},
                {"op": "replace", "path": "/edges/0/when", "value": "true"}]),
        ] {
            let found = found(patch.clone());
            assert!(
                !found.is_empty() && found.iter().all(|fault| fault.code == "PRIVILEGE_GAINED"),
                "{patch}: {found:?}"
            );
        }
        assert!(found(json!([{"op": "remove", "path": "/edges/2/when"}])).is_empty(), "a guard about something else");
    }

    #[test]
    fn a_loop_that_reads_what_a_person_decided_goes_on_as_it_did() {
        let turns =
            json!({"while": "nodes.ask.output.approved", "max_iterations": 2, "body": {"nodes": [join("pay")]}});
        let definition = json!({"name": "w", "version": "1",
            "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}}, {"id": "turns", "type": "loop", "config": turns}],
            "edges": [{"from": "ask", "to": "turns"}]});
        let change = |member: &str, value: Json| {
            let path = format!("/nodes/1/config/{member}");
            refused_of(&definition, json!([{"op": "replace", "path": path, "value": value}]))
        };
        assert_eq!(change("while", json!("true")), ["PRIVILEGE_GAINED "]);
        assert!(change("max_iterations", json!(3)).is_empty());
    }

    #[test]
    fn another_way_in_that_no_approval_guards_is_refused() {
        let gated = canonical(&json!({"name": "w", "version": "1",
            "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}}, join("pack"), join("ship")],
            "edges": [{"from": "pack", "to": "ship", "when": "has(nodes.ask.output) && nodes.ask.output.approved"},
                {"from": "ask", "to": "pack", "on": "error"}]}));
        let before = compile(&gated, None, &Limits::default()).unwrap();
        let way = json!([add("/nodes/-", join("side")), add("/edges/-", json!({"from": "side", "to": "ship"}))]);
        let resolved = made(&gated, &way, None).unwrap();
        let found = check_security(&before, &resolved, None, &Grant::default());
        assert_eq!(found[0].message, "ship would begin without the approval ask");
        // What a patch added goes with it; who may not take an approval away may not drop such a patch.
        assert!(check_approvals(&before, &resolved.ir, &Grant::all()).is_empty());
        assert_eq!(check_approvals(&before, &resolved.ir, &Grant::default())[0].code, "PRIVILEGE_GAINED");
        assert!(check_approvals(&resolved.ir, &before, &Grant::default()).is_empty());
    }

    /// `CODE pointer` of what an author without a grant is refused of a definition.
    fn refused_of(definition: &Json, patch: Json) -> Vec<String> {
        let before = ok(definition);
        let resolved = made(&before.canonical, &patch, None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let found = check_security(&before, &resolved, None, &Grant::default());
        found.iter().map(|fault| format!("{} {}", fault.code, fault.pointer)).collect()
    }

    #[test]
    fn what_follows_an_approval_whatever_was_decided_is_no_way_round_it() {
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "config": {"name": name}});
        let definition = json!({"name": "w", "version": "1",
            "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}},
                call("pay", "pay"), call("log", "log"), call("sorry", "tell")],
            "edges": [{"from": "ask", "to": "pay", "when": "nodes.ask.output.approved"},
                {"from": "ask", "to": "log"}, {"from": "ask", "to": "sorry", "when": "!nodes.ask.output.approved"}]});
        for from in ["log", "sorry"] {
            let edge = json!([add("/edges/-", json!({"from": from, "to": "pay"}))]);
            assert_eq!(refused_of(&definition, edge), ["PRIVILEGE_GAINED /nodes/1"], "{from}");
            let again =
                json!([add("/nodes/-", call("again", "pay")), add("/edges/-", json!({"from": from, "to": "again"}))]);
            assert_eq!(refused_of(&definition, again), ["FUNCTION_NOT_ALLOWED /nodes/4/config/name"], "{from}");
        }
        let after =
            json!([add("/nodes/-", call("again", "pay")), add("/edges/-", json!({"from": "pay", "to": "again"}))]);
        assert!(refused_of(&definition, after).is_empty());
    }

    #[test]
    fn another_version_of_a_workflow_is_reached_anew() {
        let calls = |id: &str, which: &str, value: &str| json!({"id": id, "type": "composite", "config": {"workflow": "child", which: value}});
        let definition = json!({"name": "w", "version": "1", "nodes": [calls("c", "tag", "main")]});
        let new = |which: &str, value: &str| json!([add("/nodes/-", calls("d", which, value))]);
        assert!(refused_of(&definition, new("tag", "main")).is_empty());
        for (which, value) in [("tag", "next"), ("version", "main")] {
            assert_eq!(refused_of(&definition, new(which, value)), ["WORKFLOW_NOT_ALLOWED /nodes/1/config/workflow"]);
        }
        let before = ok(&definition);
        let resolved = made(&before.canonical, &new("version", "2"), None).unwrap();
        let grant = Grant { workflows: Allowed::Only(["child".to_owned()].into()), ..Grant::default() };
        assert!(check_security(&before, &resolved, None, &grant).is_empty(), "the grant is for all of its versions");
    }

    #[test]
    fn a_guard_that_an_author_writes_is_no_approval() {
        let definition = json!({"name": "w", "version": "1",
            "nodes": [join("first"), {"id": "ask", "type": "approval", "config": {"prompt": "?"}}, join("any"), join("pay")],
            "edges": [{"from": "first", "to": "any"}, {"from": "ask", "to": "any"}, {"from": "ask", "to": "pay"},
                {"from": "any", "to": "pay", "when": "nodes.ask.output.approved"}]});
        let way = |guard: &str| {
            let edges = [json!({"from": "any", "to": "new"}), json!({"from": "new", "to": "pay", "when": guard})];
            let [first, second] = edges.map(|edge| add("/edges/-", edge));
            refused_of(&definition, json!([add("/nodes/-", join("new")), first, second]))
        };
        assert!(way("nodes.ask.output.approved").is_empty());
        assert_eq!(way("nodes.ask.status == null || true"), ["PRIVILEGE_GAINED /nodes/3"]);
    }

    #[test]
    fn a_node_that_signals_is_no_leave_to_signal_another_run() {
        let send = |id: &str, run: &str, name: &str| json!({"id": id, "type": "signal", "config": {"name": name, "send": {"run_id": run, "payload": 1}}});
        let definition = json!({"name": "w", "version": "1", "nodes": [send("s", "${inputs.run}", "go")]});
        let other = |run: &str| json!([{"op": "replace", "path": "/nodes/0/config/send/run_id", "value": run}]);
        assert_eq!(refused_of(&definition, other("${inputs.other}")), ["PRIVILEGE_GAINED /nodes/0/config/send"]);
        let new = |run: &str, name: &str| json!([add("/nodes/-", send("t", run, name))]);
        assert_eq!(refused_of(&definition, new("${inputs.run}", "stop")), ["PRIVILEGE_GAINED /nodes/1/config/send"]);
        assert!(refused_of(&definition, new("${inputs.run}", "go")).is_empty());
        let payload = json!([{"op": "replace", "path": "/nodes/0/config/send/payload", "value": 2}]);
        assert!(refused_of(&definition, payload).is_empty());
    }

    #[test]
    fn another_node_does_not_call_faster() {
        let call = |id: &str, rate: Json| {
            let mut node = json!({"id": id, "type": "function", "config": {"name": "f"}});
            node.as_object_mut().unwrap().extend(rate.as_object().unwrap().clone());
            node
        };
        let rate = |count: u32| json!({"rate_limit": {"count": count, "per_s": 1}});
        let definition = json!({"name": "w", "version": "1", "nodes": [call("f", rate(1))]});
        let new = |rate: Json| json!([add("/nodes/-", call("g", rate))]);
        assert_eq!(refused_of(&definition, new(json!({}))), ["PRIVILEGE_GAINED /nodes/1/rate_limit"]);
        assert_eq!(refused_of(&definition, new(rate(1000))), ["PRIVILEGE_GAINED /nodes/1/rate_limit"]);
        assert!(refused_of(&definition, new(rate(1))).is_empty());
        // A host is one tool, whatever the method.
        let get = |id: &str, method: &str| json!({"id": id, "type": "http", "config": {"url": "https://a.example/", "method": method}});
        let mut limited = get("h", "GET");
        limited["rate_limit"] = json!({"count": 1, "per_s": 1});
        let definition = json!({"name": "w", "version": "1", "nodes": [limited]});
        let post = json!([add("/nodes/-", get("p", "POST"))]);
        assert_eq!(refused_of(&definition, post), ["PRIVILEGE_GAINED /nodes/1/rate_limit"]);
    }

    #[test]
    fn copies_of_a_long_text_are_bounded() {
        let mut patch = vec![add("/nodes/0/input", json!({"a": "x".repeat(900_000)}))];
        patch.extend(
            (0..100).map(|n| json!({"op": "copy", "from": "/nodes/0/input/a", "path": format!("/nodes/0/input/b{n}")})),
        );
        match made(&base(), &Json::Array(patch), None).unwrap_err() {
            Refusal::Shape(error) => assert_eq!((error.code, error.operation), ("LIMIT_EXCEEDED", Some(5))),
            Refusal::Meaning(faults) => panic!("{faults:?}"),
        }
    }
}
