//! Every node type: what it accepts, and what it refuses, with code and pointer.
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::ir::{Effect, Join, Kind, OnError, OnTimeout, Priority, RateLimit, Timer};
use apex_ir::{BreakerSpec, FallbackSpec, FunctionSpec, FunctionTable, Limits, compile};
use support::{codes, faults, ok, workflow};

fn one(node: &str) -> apex_ir::Ir {
    ok(&workflow(node, ""))
}

fn refused(node: &str) -> Vec<String> {
    codes(&workflow(node, ""))
}

#[test]
fn function() {
    let ir =
        one(r#"{"id": "f", "type": "function", "config": {"name": "g"}, "priority": "high", "on_error": "continue",
        "concurrency_key": "acct-${inputs.a}", "retry": {"max_attempts": 3}}"#);
    let node = &ir.nodes[0];
    assert!(matches!(&node.kind, Kind::Function { name, config: None, .. } if &**name == "g"));
    assert_eq!((node.effect, node.priority, node.on_error), (Effect::Write, Priority::High, OnError::Continue));
    assert!(node.concurrency_key.is_some());
    assert_eq!((node.retry.max_attempts, node.retry.initial_ns, node.retry.max_ns), (3, 200_000_000, 30_000_000_000));
    assert_eq!(refused(r#"{"id": "f", "type": "function"}"#), ["MISSING_FIELD /nodes/0"]);
    assert_eq!(refused(r#"{"id": "f", "type": "function", "config": {}}"#), ["MISSING_FIELD /nodes/0/config"]);
    assert_eq!(
        refused(
            r#"{"id": "f", "type": "function", "config": {"name": "${x}", "nmae": 1}, "input": [1], "effect": "none"}"#
        ),
        [
            "BAD_VALUE /nodes/0/config/name",
            "UNKNOWN_FIELD /nodes/0/config/nmae",
            "WRONG_TYPE /nodes/0/input",
            "BAD_VALUE /nodes/0/effect"
        ]
    );
}

#[test]
fn http() {
    let node = |config: &str| refused(&format!(r#"{{"id": "h", "type": "http", "config": {config}}}"#));
    let ir =
        one(r#"{"id": "h", "type": "http", "config": {"method": "PUT", "url": "http://[::1]:80/a?b=${inputs.x}"}}"#);
    assert_eq!(ir.nodes[0].effect, Effect::Write);
    for url in [
        "${inputs.url}",
        "https://${inputs.host}/",
        "https://x.org${inputs.path}",
        "https://x.org:${inputs.port}/",
        "${inputs.scheme}://x.org/",
        "ftp://x.org/",
        "/relative",
        "https:///a",
        "https://me:pw@x.org/",
        "https://x.org/a b",
        "https://x.org\\\\@evil.org/",
        "file:///etc/passwd",
        "",
    ] {
        assert_eq!(node(&format!(r#"{{"url": "{url}"}}"#)), ["BAD_VALUE /nodes/0/config/url"], "{url}");
    }
    assert_eq!(
        node(r#"{"method": "get", "url": 7}"#),
        ["BAD_VALUE /nodes/0/config/method", "WRONG_TYPE /nodes/0/config/url"]
    );
    assert_eq!(
        node(
            r#"{"url": "https://x.org/", "headers": {"a b": "x", "C": "x\r\ny", "D": 1, "E": {"secret": 1}, "F": {"x": 1}}, "query": [], "expect_status": [99]}"#
        ),
        [
            "BAD_VALUE /nodes/0/config/headers/a b",
            "BAD_VALUE /nodes/0/config/headers/C",
            "WRONG_TYPE /nodes/0/config/headers/D",
            "WRONG_TYPE /nodes/0/config/headers/E/secret",
            "MISSING_FIELD /nodes/0/config/headers/F",
            "UNKNOWN_FIELD /nodes/0/config/headers/F/x",
            "WRONG_TYPE /nodes/0/config/query",
            "BAD_VALUE /nodes/0/config/expect_status/0"
        ]
    );
    assert_eq!(
        faults(&workflow(r#"{"id": "h", "type": "http", "config": {"method": "get", "url": "https://x.org"}}"#, ""))[0]
            .hint
            .as_deref(),
        Some("did you mean \"GET\"?")
    );
}

#[test]
fn map() {
    let ir = one(
        r#"{"id": "m", "type": "map", "config": {"over": "${inputs.list}", "max_concurrency": 3, "on_item_error": "skip",
        "body": {"nodes": [{"id": "a", "type": "function", "config": {"name": "f"}, "input": {"i": "${item}", "n": "${index}"}},
                           {"id": "b", "type": "join"}], "edges": [{"from": "a", "to": "b"}], "output": "${nodes.a.output.x}"}}}"#,
    );
    let Kind::Map { body, max_concurrency: 3, skip_item_errors: true, .. } = ir.nodes[0].kind else { panic!() };
    let graph = &ir.graphs[body as usize];
    assert_eq!((graph.owner, graph.nodes.clone()), (Some(0), 1..3));
    assert_eq!((&*graph.roots, &*graph.leaves), (&[1][..], &[2][..]));
    assert_eq!(ir.pointer_of(&ir.nodes[2]), "/nodes/0/config/body/nodes/1");
    assert_eq!(ir.pointer_of_edge(&ir.edges[0]), "/nodes/0/config/body/edges/0");
    assert_eq!(
        refused(
            r#"{"id": "m", "type": "map", "config": {"over": "x${inputs.l}", "body": {"node": []}, "max_concurrency": 0}, "concurrency_key": "k"}"#
        ),
        [
            "WRONG_TYPE /nodes/0/config/over",
            "MISSING_FIELD /nodes/0/config/body",
            "UNKNOWN_FIELD /nodes/0/config/body/node",
            "BAD_VALUE /nodes/0/config/max_concurrency",
            "BAD_VALUE /nodes/0/concurrency_key"
        ]
    );
    assert_eq!(
        refused(r#"{"id": "m", "type": "map", "config": {}}"#),
        ["MISSING_FIELD /nodes/0/config", "MISSING_FIELD /nodes/0/config"]
    );
    let mut deep = r#"{"nodes": [{"id": "j", "type": "join"}]}"#.to_owned();
    for i in 0..9 {
        deep = format!(r#"{{"nodes": [{{"id": "m{i}", "type": "map", "config": {{"over": [], "body": {deep}}}}}]}}"#);
    }
    let text = deep.replacen('{', r#"{"name": "w", "version": "1", "#, 1);
    assert!(codes(&text)[0].starts_with("LIMIT_EXCEEDED /nodes/0/config/body"), "{:?}", codes(&text));
}

#[test]
fn join() {
    let nodes = r#"{"id": "a", "type": "join"}, {"id": "b", "type": "join"}, {"id": "j", "type": "join", "config": {}, "join": JOIN, "cancel_rest": true}"#;
    let edges = r#"{"from": "a", "to": "j"}, {"from": "b", "to": "j", "on": "error"}"#;
    let with = |join: &str| workflow(&nodes.replace("JOIN", join), edges);
    let ir = ok(&with(r#"{"quorum": 2, "required": true}"#));
    assert_eq!(ir.nodes[2].join, Join::Quorum { n: 2, required: true });
    assert_eq!(&*ir.nodes[2].cancel_rest, [0, 1]);
    assert!(ir.edges[1].on_error);
    assert_eq!(ok(&with("\"any\"")).nodes[2].join, Join::Any);
    assert_eq!(codes(&with(r#"{"quorum": 3}"#)), ["BAD_VALUE /nodes/2/join"]);
    assert_eq!(codes(&with(r#"{"quorum": 0}"#)), ["BAD_VALUE /nodes/2/join/quorum"]);
    assert_eq!(codes(&with(r#"{"required": true}"#)), ["MISSING_FIELD /nodes/2/join"]);
    assert_eq!(codes(&with("\"some\"")), ["BAD_VALUE /nodes/2/join"]);
    assert_eq!(codes(&with("2")), ["WRONG_TYPE /nodes/2/join"]);
}

#[test]
fn timer() {
    let node = |config: &str| workflow(&format!(r#"{{"id": "t", "type": "timer", "config": {config}}}"#), "");
    assert!(matches!(ok(&node(r#"{"duration_s": 1.5}"#)).nodes[0].kind, Kind::Timer(Timer::Duration(_))));
    assert!(matches!(ok(&node(r#"{"until": "${inputs.at}"}"#)).nodes[0].kind, Kind::Timer(Timer::Until(_))));
    assert_eq!(codes(&node(r#"{"duration_s": -1}"#)), ["BAD_VALUE /nodes/0/config/duration_s"]);
    assert_eq!(codes(&node(r#"{"duration_s": "1"}"#)), ["WRONG_TYPE /nodes/0/config/duration_s"]);
    assert_eq!(codes(&node(r#"{"until": "tomorrow"}"#)), ["BAD_VALUE /nodes/0/config/until"]);
    assert_eq!(
        codes(&node(r#"{"until": "2030-01-01T00:00:00Z", "duration_s": 1}"#)),
        ["BAD_VALUE /nodes/0/config/until"]
    );
    assert_eq!(codes(&node("{}")), ["MISSING_FIELD /nodes/0/config"]);
}

#[test]
fn approval() {
    let node = |config: &str| workflow(&format!(r#"{{"id": "a", "type": "approval", "config": {config}}}"#), "");
    let ir = ok(&node(r#"{"prompt": "Ship ${inputs.x}?", "on_timeout": "approve", "timeout_s": 5}"#));
    let Kind::Approval(approval) = &ir.nodes[0].kind else { panic!() };
    assert_eq!((approval.on_timeout, approval.timeout_ns), (OnTimeout::Approve, Some(5_000_000_000)));
    assert_eq!(codes(&node("{}")), ["MISSING_FIELD /nodes/0/config"]);
    assert_eq!(
        codes(&node(
            r#"{"prompt": 1, "timeout_s": 0, "on_timeout": "wait", "escalate_to": "ops", "escalate_after_s": 1}"#
        )),
        [
            "WRONG_TYPE /nodes/0/config/prompt",
            "BAD_VALUE /nodes/0/config/timeout_s",
            "BAD_VALUE /nodes/0/config/on_timeout",
            "WRONG_TYPE /nodes/0/config/escalate_to"
        ]
    );
    assert_eq!(
        codes(&node(r#"{"prompt": "p", "timeout_s": 5, "escalate_to": ["x"], "escalate_after_s": 5}"#)),
        ["BAD_VALUE /nodes/0/config/escalate_after_s"]
    );
    assert_eq!(
        codes(&node(r#"{"prompt": "p", "escalate_after_s": 5}"#)),
        ["MISSING_FIELD /nodes/0/config/escalate_after_s"]
    );
}

#[test]
fn every_type_of_node_runs() {
    let nodes = r#"{"id": "a", "type": "agent", "config": {"model": "m", "prompt": "Do ${inputs.x}", "tools": [], "output_schema": {"type": "object"}, "may_patch": false}},
        {"id": "s", "type": "signal", "config": {"name": "go", "timeout_s": 5, "on_timeout": "continue"}},
        {"id": "c", "type": "composite", "config": {"workflow": "other", "tag": "main", "inputs": {"x": "${nodes.s.output}"}}},
        {"id": "l", "type": "loop", "config": {"while": "iteration < 3 && last != null", "max_iterations": 5,
            "body": {"nodes": [{"id": "b", "type": "agent", "config": {"prompt": "${last}"}}]}}}"#;
    ok(&workflow(nodes, r#"{"from": "s", "to": "c"}"#));
    assert_eq!(
        refused(r#"{"id": "a", "type": "agent", "config": {"prompt": "p", "tools": ["t"]}}"#),
        ["BAD_VALUE /nodes/0/config/tools/0"]
    );
    assert_eq!(
        refused(
            r#"{"id": "a", "type": "agent", "config": {"tools": "t", "output_schema": {"type": "x"}, "may_patch": 1}}"#
        ),
        [
            "MISSING_FIELD /nodes/0/config",
            "WRONG_TYPE /nodes/0/config/tools",
            "BAD_SCHEMA /nodes/0/config/output_schema/type",
            "WRONG_TYPE /nodes/0/config/may_patch"
        ]
    );
    assert_eq!(
        refused(r#"{"id": "c", "type": "composite", "config": {"workflow": "w"}, "input": {}}"#),
        ["MISSING_FIELD /nodes/0/config", "UNKNOWN_FIELD /nodes/0/input"]
    );
    assert_eq!(
        refused(r#"{"id": "c", "type": "composite", "config": {"workflow": "w", "version": "1", "tag": "t"}}"#),
        ["BAD_VALUE /nodes/0/config/tag"]
    );
    assert_eq!(
        refused(
            r#"{"id": "l", "type": "loop", "config": {"while": "last.x", "body": {"nodes": [{"id": "b", "type": "join"}]}}}"#
        ),
        ["MISSING_FIELD /nodes/0/config"]
    );
    assert_eq!(
        refused(r#"{"id": "s", "type": "signal", "config": {"on_timeout": "x"}}"#),
        ["MISSING_FIELD /nodes/0/config", "BAD_VALUE /nodes/0/config/on_timeout"]
    );
}

#[test]
fn a_signal_is_waited_for_or_sent() {
    let wait =
        r#"{"name": "go-${inputs.x}", "match": "signal.payload.n > 1", "timeout_s": 5, "on_timeout": "continue"}"#;
    let send = r#"{"name": "go", "send": {"run_id": "${inputs.to}", "payload": {"n": 1}}}"#;
    let nodes = format!(
        r#"{{"id": "s", "type": "signal", "config": {wait}}}, {{"id": "t", "type": "signal", "config": {send}}}"#
    );
    let ir = ok(&workflow(&nodes, ""));
    assert!(matches!(
        &ir.nodes[0].kind,
        Kind::Signal { matches: Some(_), timeout_ns: Some(_), continues: true, send: None, .. }
    ));
    assert!(matches!(&ir.nodes[1].kind, Kind::Signal { send: Some(_), .. }));
    let of = |config: &str| refused(&format!(r#"{{"id": "s", "type": "signal", "config": {config}}}"#));
    assert_eq!(
        of(r#"{"name": "a", "timeout_s": 1, "send": {"to": "x"}}"#),
        [
            "BAD_VALUE /nodes/0/config/timeout_s",
            "MISSING_FIELD /nodes/0/config/send",
            "UNKNOWN_FIELD /nodes/0/config/send/to"
        ]
    );
    assert_eq!(of(r#"{"name": "${signal.payload}"}"#), ["UNKNOWN_REFERENCE /nodes/0/config/name"]);
    assert_eq!(of(r#"{"name": "a", "match": "signal.x == 1"}"#), ["UNKNOWN_REFERENCE /nodes/0/config/match"]);
}

#[test]
fn a_rate_is_read_or_filled_in() {
    let node =
        |rate: &str| format!(r#"{{"id": "a", "type": "function", "config": {{"name": "f"}}, "rate_limit": {rate}}}"#);
    let ir = ok(&workflow(&node(r#"{"count": 10}"#), ""));
    assert_eq!(ir.nodes[0].rate_limit, Some(RateLimit { count: 10, per_ns: 1_000_000_000, burst: 10 }));
    assert_eq!(ir.nodes[0].rate_limit.unwrap().interval_ns(), 100_000_000);
    let spec = FunctionSpec {
        rate_limit: Some(RateLimit { count: 6, per_ns: 60_000_000_000, burst: 1 }),
        ..Default::default()
    };
    let table = FunctionTable::from([("f".to_owned(), spec)]);
    let bare = workflow(r#"{"id": "a", "type": "function", "config": {"name": "f"}}"#, "");
    let ir = apex_ir::compile(bare.as_bytes(), Some(&table), &Limits::default()).unwrap();
    let canonical = std::str::from_utf8(&ir.canonical).unwrap();
    assert!(canonical.contains(r#""rate_limit":{"burst":1,"count":6,"per_s":60}"#), "{canonical}");
    assert_eq!(ok(canonical).nodes[0].rate_limit, table["f"].rate_limit);
    assert_eq!(refused(&node(r#"{"per_s": 0}"#)), ["MISSING_FIELD /nodes/0/rate_limit"]);
    assert_eq!(
        refused(r#"{"id": "t", "type": "timer", "config": {"duration_s": 1}, "rate_limit": {"count": 1}}"#),
        ["BAD_VALUE /nodes/0/rate_limit"]
    );
}

#[test]
fn all_faults_come_at_once_in_document_order() {
    let text = r#"{"version": 1, "nodes": [
        {"id": "1st", "type": "function", "config": {"name": "f"}},
        {"id": "a", "typ": "http"},
        {"id": "a", "type": "htpp"},
        7],
      "edges": [{"from": "a", "to": "z"}, {"from": "a"}, {"from": "a", "to": "a", "when": "nodes.b.output +"}],
      "name": "", "extra": true, "timeout_s": "1"}"#;
    assert_eq!(
        codes(text),
        [
            "WRONG_TYPE /version",
            "BAD_ID /nodes/0/id",
            "MISSING_FIELD /nodes/1",
            "UNKNOWN_FIELD /nodes/1/typ",
            "DUPLICATE_ID /nodes/2/id",
            "UNKNOWN_TYPE /nodes/2/type",
            "WRONG_TYPE /nodes/3",
            "UNKNOWN_REFERENCE /edges/0/to",
            "MISSING_FIELD /edges/1",
            "CYCLE /edges/2",
            "BAD_EXPRESSION /edges/2/when",
            "BAD_VALUE /name",
            "UNKNOWN_FIELD /extra",
            "WRONG_TYPE /timeout_s",
        ]
    );
    let hints: Vec<Option<String>> = faults(text).into_iter().map(|fault| fault.hint).collect();
    assert_eq!(hints[3].as_deref(), Some("did you mean \"type\"?"));
    assert_eq!(hints[5].as_deref(), Some("did you mean \"http\"?"));
    assert_eq!(codes("[]"), ["WRONG_TYPE "]);
    assert_eq!(codes("{}"), ["MISSING_FIELD ", "MISSING_FIELD ", "MISSING_FIELD "]);
    assert_eq!(codes("{\"nodes\": ["), ["BAD_JSON /nodes/0"]);
}

#[test]
fn faults_over_the_limit_are_counted() {
    let nodes: Vec<String> = (0..5_000).map(|i| format!(r#"{{"id": "n{i}", "type": "x"}}"#)).collect();
    let found = faults(&workflow(&nodes.join(","), ""));
    assert_eq!(found.len(), 1_001);
    assert_eq!(found[1_000].message, "4000 more faults are not listed");
}

#[test]
fn the_function_table_fills_in_what_a_node_does_not_state() {
    let retry = apex_ir::ir::Retry {
        max_attempts: 4,
        initial_ns: 1_500_000_000,
        factor: 3.0,
        max_ns: 60_000_000_000,
        jitter: 0.0,
        non_retryable: Box::new(["Declined".into()]),
        by_error: Box::default(),
    };
    let patient = apex_ir::ir::Retry { max_attempts: 9, non_retryable: Box::default(), ..retry.clone() };
    let class = apex_ir::ir::ErrorRetry { types: Box::new(["RateLimited".into()]), retry: patient };
    let retry = apex_ir::ir::Retry { by_error: Box::new([class]), ..retry };
    let fallback = Some(FallbackSpec::Value(b"{\"at\": \"${inputs.to}\"}".to_vec()));
    let breaker = BreakerSpec { failure_threshold: 3, timeout_s: 1.5, probes: 2, fallback };
    let book = FunctionSpec {
        rate_limit: None,
        effect: Some(Effect::Write),
        retry: Some(retry.clone()),
        timeout_s: Some(2.5),
        schedule_to_close_s: Some(60.0),
        heartbeat_timeout_s: Some(0.5),
        breaker: Some(breaker),
        compensation: Some("cancel".to_owned()),
    };
    let cancel = FunctionSpec { timeout_s: Some(9.0), ..FunctionSpec::default() };
    let look = FunctionSpec { effect: Some(Effect::Pure), ..FunctionSpec::default() };
    let table: FunctionTable =
        [("book", book), ("cancel", cancel), ("look", look)].map(|(name, spec)| (name.to_owned(), spec)).into();
    let text = workflow(
        r#"{"id": "a-1", "type": "function", "config": {"name": "book"}, "input": {"to": "${inputs.to}"}},
           {"id": "b", "type": "function", "config": {"name": "book"}, "retry": {"max_attempts": 1}, "timeout_s": 7, "effect": "read",
            "compensation": {"name": "look", "input": {}}},
           {"id": "c", "type": "function", "config": {"name": "look"}, "compensation": {"name": "cancel"}}"#,
        "",
    );
    let filled = compile(text.as_bytes(), Some(&table), &Limits::default()).unwrap();
    let canonical = String::from_utf8(filled.canonical.to_vec()).unwrap();
    let expected = r#""compensation":{"input":{"input":{"to":"${inputs.to}"},"output":"${nodes[\"a-1\"].output}"},"name":"cancel","timeout_s":9}"#;
    assert!(canonical.contains(expected), "{canonical}");
    // Without the table, the filled definition means the same, and is the same.
    let again = ok(&canonical);
    assert_eq!((again.hash, &again.canonical), (filled.hash, &filled.canonical));
    for ir in [&filled, &again] {
        let [a, b, c] = &ir.nodes[..] else { panic!() };
        assert_eq!((&a.retry, a.timeout_ns, a.effect), (&retry, Some(2_500_000_000), Effect::Write));
        assert_eq!((a.schedule_to_close_ns, a.heartbeat_timeout_ns), (Some(60_000_000_000), Some(500_000_000)));
        let breaker = a.breaker.as_ref().unwrap();
        assert_eq!((breaker.failure_threshold, breaker.timeout_ns, breaker.probes), (3, 1_500_000_000, 2));
        assert!(matches!(breaker.fallback, Some(apex_ir::ir::Fallback::Value(_))));
        assert_eq!((a.retry.goes_on("Odd", 4), a.retry.goes_on("RateLimited", 4)), (false, true));
        assert_eq!((b.retry.max_attempts, b.timeout_ns, b.effect), (1, Some(7_000_000_000), Effect::Read));
        assert_eq!(c.effect, Effect::Pure);
        let undo = a.compensation.as_ref().unwrap();
        assert_eq!((&*undo.name, undo.retry.max_attempts, undo.timeout_ns), ("cancel", 3, Some(9_000_000_000)));
        assert_eq!(&*b.compensation.as_ref().unwrap().name, "look");
        assert_eq!(c.compensation.as_ref().unwrap().timeout_ns, Some(9_000_000_000));
    }
    assert_eq!(filled.nodes[0].keeps, apex_ir::ir::Keeps::All);
    let unknown = text.replace("\"look\"", "\"loook\"");
    let found = compile(unknown.as_bytes(), Some(&table), &Limits::default()).unwrap_err();
    let found: Vec<String> = found
        .iter()
        .map(|fault| format!("{} {} {}", fault.code, fault.pointer, fault.hint.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        found,
        [
            "UNKNOWN_FUNCTION /nodes/1/compensation/name did you mean \"look\"?",
            "UNKNOWN_FUNCTION /nodes/2/config/name did you mean \"look\"?",
        ]
    );
}

#[test]
fn what_a_failure_comes_to_is_checked() {
    let node =
        |more: &str| workflow(&format!(r#"{{"id": "a", "type": "function", "config": {{"name": "f"}}, {more}}}"#), "");
    for (more, found) in [
        (
            r#""retry": {"non_retryable": ["X"], "by_error": [{"types": ["X"]}]}"#,
            "BAD_VALUE /nodes/0/retry/by_error/0/types",
        ),
        (r#""retry": {"by_error": [{"max_attempts": 2}]}"#, "MISSING_FIELD /nodes/0/retry/by_error/0"),
        (r#""retry": {"by_error": [{"types": []}]}"#, "BAD_VALUE /nodes/0/retry/by_error/0/types"),
        (r#""breaker": {"fallback": {"value": 1, "cached": true}}"#, "BAD_VALUE /nodes/0/breaker/fallback/cached"),
        (r#""breaker": {"fallback": {}}"#, "MISSING_FIELD /nodes/0/breaker/fallback"),
        (
            r#""breaker": {"fallback": {"value": "${nodes.b.output}"}}"#,
            "UNKNOWN_REFERENCE /nodes/0/breaker/fallback/value",
        ),
        (r#""correction": {"max_attempts": 0}"#, "BAD_VALUE /nodes/0/correction/max_attempts"),
        (r#""heartbeat_timeout_s": 0"#, "BAD_VALUE /nodes/0/heartbeat_timeout_s"),
    ] {
        assert_eq!(codes(&node(more)), [found], "{more}");
    }
    let http = r#"{"id": "a", "type": "http", "config": {"method": "GET", "url": "http://x"}, "correction": {}}"#;
    assert_eq!(codes(&workflow(http, "")).len(), 1);
    let join = r#"{"id": "a", "type": "timer", "config": {"duration_s": 1}, "breaker": {}}"#;
    assert_eq!(codes(&workflow(join, "")).len(), 1);
}
