//! Graphs: order, cycles, what is upstream, what is kept, and that it holds for any graph.
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::ir::Keeps;
use apex_ir::{Limits, compile};
use proptest::prelude::*;
use support::{codes, faults, ok, workflow};

fn joins(ids: &[&str]) -> String {
    ids.iter().map(|id| format!(r#"{{"id": "{id}", "type": "join"}}"#)).collect::<Vec<_>>().join(",")
}

fn edges(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(from, to)| format!(r#"{{"from": "{from}", "to": "{to}"}}"#)).collect::<Vec<_>>().join(",")
}

#[test]
fn a_cycle_is_named_as_a_path() {
    let text = workflow(
        &joins(&["a", "b", "c", "d", "e", "f"]),
        &edges(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e"), ("f", "f")]),
    );
    let found = faults(&text);
    assert_eq!(codes(&text), ["CYCLE /edges/3", "CYCLE /edges/5"]);
    assert_eq!(found[0].message, "a cycle: b → c → d → b");
    assert_eq!(found[1].message, "a cycle: f → f");
    let only = workflow(&joins(&["a", "b", "c"]), &edges(&[("a", "b"), ("b", "a"), ("b", "c")]));
    assert_eq!(codes(&only), ["UNREACHABLE /nodes/2", "CYCLE /edges/1"]);
    let ids: Vec<String> = (0..1_000).map(|i| format!("n{i}")).collect();
    let ring: Vec<(&str, &str)> = (0..1_000).map(|i| (&*ids[i], &*ids[(i + 1) % 1_000])).collect();
    let found = faults(&workflow(&joins(&ids.iter().map(|id| &**id).collect::<Vec<_>>()), &edges(&ring)));
    assert!(found[0].message.contains("(981 more)") && found[0].message.len() < 300, "{}", found[0].message);
}

#[test]
fn nodes_that_no_edge_can_reach_are_named() {
    let edges = r#"{"from": "a", "to": "b", "when": "false"}, {"from": "b", "to": "c"}, {"from": "a", "to": "d"}"#;
    assert_eq!(
        codes(&workflow(&joins(&["a", "b", "c", "d"]), edges)),
        ["UNREACHABLE /nodes/1", "UNREACHABLE /nodes/2"]
    );
}

#[test]
fn edges_are_unique_and_stay_in_their_graph() {
    let twice = r#"{"from": "a", "to": "b"}, {"from": "a", "to": "b", "on": "error"}, {"from": "a", "to": "b", "when": "true"}"#;
    assert_eq!(codes(&workflow(&joins(&["a", "b"]), twice)), ["BAD_VALUE /edges/2"]);
    let nodes = format!(
        r#"{}, {{"id": "m", "type": "map", "config": {{"over": [], "body": {{"nodes": [{}]}}}}}}"#,
        joins(&["a"]),
        joins(&["x"])
    );
    assert_eq!(codes(&workflow(&nodes, &edges(&[("a", "x")]))), ["UNKNOWN_REFERENCE /edges/0/to"]);
    let same = nodes.replace("\"x\"", "\"a\"");
    assert_eq!(codes(&workflow(&same, "")), ["DUPLICATE_ID /nodes/1/config/body/nodes/0/id"]);
}

#[test]
fn references_reach_upstream_only() {
    let node = |id: &str, reads: &str| {
        format!(
            r#"{{"id": "{id}", "type": "function", "config": {{"name": "f"}}, "input": {{"deep": [{{"x": "{reads}"}}]}}}}"#
        )
    };
    let chain = |reads: [&str; 3]| {
        let nodes = [node("a", reads[0]), node("b", reads[1]), node("c", reads[2])].join(",");
        codes(&workflow(&nodes, &edges(&[("a", "b"), ("b", "c")])))
    };
    assert!(chain(["", "${nodes.a.output.x}", "${nodes.a.output.x + nodes.b.status}"]).is_empty());
    let place = |i: usize| format!("/nodes/{i}/input/deep/0/x");
    assert_eq!(chain(["${nodes.b.output}", "", ""]), [format!("NOT_UPSTREAM {}", place(0))]);
    assert_eq!(chain(["", "${nodes.b.output}", ""]), [format!("NOT_UPSTREAM {}", place(1))]);
    assert_eq!(chain(["", "", "${nodes.z.output}"]), [format!("UNKNOWN_REFERENCE {}", place(2))]);
    assert_eq!(chain(["${item}", "${last}", "${index + iteration}"]).len(), 4);
    let guard = |from: &str, when: &str| {
        let edges = format!(r#"{{"from": "{from}", "to": "c", "when": "{when}"}}"#);
        codes(&workflow(&joins(&["a", "b", "c"]), &edges))
    };
    assert!(guard("a", "nodes.a.status == 'ok'").is_empty());
    assert_eq!(guard("a", "nodes.b.output.x"), ["NOT_UPSTREAM /edges/0/when"]);
    assert_eq!(guard("a", "nodes.c.output.x"), ["NOT_UPSTREAM /edges/0/when"]);
    assert_eq!(guard("a", "'yes'"), ["BAD_EXPRESSION /edges/0/when"]);
    assert!(
        faults(&workflow(&joins(&["a", "b"]), r#"{"from": "a", "to": "b", "when": "${true}"}"#))[0]
            .hint
            .as_ref()
            .unwrap()
            .contains("without `${`")
    );
}

#[test]
fn bodies_see_out_and_nobody_sees_in() {
    let with = |inner: &str, outer: &str| {
        let f = |id: &str, reads: &str| {
            format!(r#"{{"id": "{id}", "type": "function", "config": {{"name": "f"}}, "input": {{"x": "{reads}"}}}}"#)
        };
        let body = format!(
            r#"{{"nodes": [{}, {}], "edges": [{{"from": "x", "to": "y"}}], "output": "${{nodes.y.output.r}}"}}"#,
            f("x", "1"),
            f("y", inner)
        );
        let map = format!(
            r#"{{"id": "m", "type": "map", "config": {{"over": "${{nodes.a.output.list}}", "body": {body}}}}}"#
        );
        let nodes = [f("a", "1"), map, f("z", outer), f("other", "1")].join(",");
        let text = workflow(&nodes, &edges(&[("a", "m"), ("m", "z")]));
        (codes(&text), text)
    };
    let (found, text) = with("${nodes.x.output.q + nodes.a.output.p + item.k}", "${nodes.m.output}");
    assert!(found.is_empty(), "{found:?}");
    let ir = ok(&text);
    let keeps = |id: &str| ir.nodes[ir.node(id).unwrap() as usize].keeps.clone();
    let paths = |id: &str| match keeps(id) {
        Keeps::Paths(paths) => paths.iter().map(|path| path.pointer.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(paths("a"), ["/list", "/p"]);
    assert_eq!(paths("x"), ["/q"]);
    assert_eq!(paths("y"), ["/r"]);
    assert_eq!(keeps("m"), Keeps::All);
    // No output is stated, so the leaves' outputs are the run's.
    assert_eq!((keeps("z"), keeps("other")), (Keeps::All, Keeps::All));
    assert_eq!(with("${nodes.other.output}", "").0, ["NOT_UPSTREAM /nodes/1/config/body/nodes/1/input/x"]);
    assert_eq!(with("${nodes.m.output}", "").0, ["NOT_UPSTREAM /nodes/1/config/body/nodes/1/input/x"]);
    let (found, text) = with("", "${nodes.x.output}");
    assert_eq!(found, ["NOT_UPSTREAM /nodes/2/input/x"]);
    assert!(faults(&text)[0].hint.as_ref().unwrap().contains("nodes.m.output"));
}

#[test]
fn kept_paths_hold_no_prefix_of_another() {
    let text = r#"{"name": "w", "version": "1", "nodes": [{"id": "a", "type": "join"}],
      "output": ["${nodes.a.output.x.y}", "${nodes.a.output.x}", "${nodes.a.output.b[0].c}", "${nodes.a.output['p q'].r}"]}"#;
    let ir = ok(text);
    let Keeps::Paths(paths) = &ir.nodes[0].keeps else { panic!() };
    let pointers: Vec<&str> = paths.iter().map(|path| &*path.pointer).collect();
    assert_eq!(pointers, ["/b", "/p q/r", "/x"]);
    assert_eq!(ir.nodes[0].keeps.locate(&["x", "y"]), Some(&paths[2]));
    assert_eq!(ir.nodes[0].keeps.locate(&["p q"]), None);
}

#[test]
fn what_the_inputs_cannot_have_is_unknown() {
    let text = r#"{"name": "w", "version": "1", "inputs": {"properties": {"order": {}}, "additionalProperties": false},
      "nodes": [{"id": "a", "type": "join"}], "output": "${inputs.ordr}"}"#;
    assert_eq!(codes(text), ["UNKNOWN_REFERENCE /output"]);
    assert_eq!(faults(text)[0].hint.as_deref(), Some("did you mean \"order\"?"));
    assert!(codes(&text.replace("false", "true")).is_empty());
}

#[test]
fn cancel_rest_names_what_only_leads_to_the_join() {
    // a → b → j, c → j, c → other: c also leads elsewhere.
    let nodes = format!(
        r#"{}, {{"id": "j", "type": "join", "join": "any", "cancel_rest": true}}, {}"#,
        joins(&["a", "b", "c"]),
        joins(&["other"])
    );
    let ir = ok(&workflow(&nodes, &edges(&[("a", "b"), ("b", "j"), ("c", "j"), ("c", "other")])));
    let join = &ir.nodes[ir.node("j").unwrap() as usize];
    let named: Vec<&str> = join.cancel_rest.iter().map(|&ix| &*ir.nodes[ix as usize].id).collect();
    assert_eq!(named, ["a", "b"]);
    let chain: Vec<String> =
        (0..5_000).map(|i| format!(r#"{{"id": "n{i}", "type": "join", "cancel_rest": true}}"#)).collect();
    let links: Vec<String> = (1..5_000).map(|i| format!(r#"{{"from": "n{}", "to": "n{i}"}}"#, i - 1)).collect();
    assert!(codes(&workflow(&chain.join(","), &links.join(",")))[0].starts_with("LIMIT_EXCEEDED /nodes/"));
}

#[test]
fn real_workflows_compile_to_the_levels_of_their_oracle() {
    let mut lines = include_str!("data/wfinstances.txt").lines();
    let mut seen = 0;
    while let Some(name) = lines.next() {
        let widths: Vec<usize> = lines.next().unwrap().split(' ').map(|width| width.parse().unwrap()).collect();
        let ids: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let pairs: Vec<(&str, &str)> =
            lines.next().unwrap().split(' ').filter_map(|pair| pair.split_once('>')).collect();
        let safe = |id: &str| format!("t_{id}");
        let nodes: Vec<String> = ids
            .iter()
            .map(|id| format!(r#"{{"id": "{}", "type": "function", "config": {{"name": "task"}}}}"#, safe(id)))
            .collect();
        let edges: Vec<String> = pairs
            .iter()
            .map(|(from, to)| {
                format!(
                    r#"{{"from": "{}", "to": "{}"}}"#,
                    safe(ids[from.parse::<usize>().unwrap()]),
                    safe(ids[to.parse::<usize>().unwrap()])
                )
            })
            .collect();
        let ir = ok(&workflow(&nodes.join(","), &edges.join(",")));
        assert_eq!((ir.nodes.len(), ir.edges.len()), (ids.len(), pairs.len()), "{name}");
        let mut level = vec![0_usize; ir.nodes.len()];
        for ix in 0..ir.nodes.len() as u32 {
            level[ix as usize] = ir.incoming(ix).map(|(_, edge)| level[edge.from as usize] + 1).max().unwrap_or(0);
        }
        let mut found = vec![0; level.iter().max().unwrap() + 1];
        level.iter().for_each(|&level| found[level] += 1);
        assert_eq!(found, widths, "{name}");
        assert!(level.is_sorted(), "{name}: levels in order");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// A random graph: edges go from lower to higher numbers, nodes are written in any order.
fn dag() -> impl Strategy<Value = (Vec<usize>, Vec<(usize, usize)>)> {
    (1..40_usize).prop_flat_map(|count| {
        let edges = prop::collection::btree_set((0..count, 0..count), 0..80)
            .prop_map(|pairs| pairs.into_iter().filter(|(from, to)| from < to).collect::<Vec<_>>());
        (Just((0..count).collect::<Vec<_>>()).prop_shuffle(), edges)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_dag_compiles_in_order_and_again_to_the_same_hash((order, pairs) in dag()) {
        let nodes: Vec<String> = order.iter().map(|i| format!(r#"{{"type": "join", "id": "n{i}"}}"#)).collect();
        let links: Vec<String> = pairs.iter().map(|(from, to)| format!(r#"{{ "to":"n{to}", "from":"n{from}"}}"#)).collect();
        let ir = ok(&workflow(&nodes.join(", "), &links.join(" ,")));
        for edge in &ir.edges {
            prop_assert!(edge.from < edge.to);
        }
        prop_assert!(ir.edges.windows(2).all(|pair| (pair[0].from, pair[0].to) < (pair[1].from, pair[1].to)));
        for (ix, node) in ir.nodes.iter().enumerate() {
            prop_assert!(ir.outgoing(ix as u32).iter().all(|edge| edge.from == ix as u32));
            prop_assert!(ir.incoming(ix as u32).all(|(_, edge)| edge.to == ix as u32));
            prop_assert_eq!(ir.node(&node.id), Some(ix as u32));
            let written = order.iter().position(|i| format!("n{i}") == *node.id).unwrap();
            prop_assert_eq!(ir.pointer_of(node), format!("/nodes/{written}"));
        }
        let again = ok(std::str::from_utf8(&ir.canonical).unwrap());
        prop_assert_eq!((&again.hash, &again.canonical), (&ir.hash, &ir.canonical));
    }

    #[test]
    fn a_reference_is_refused_exactly_where_no_path_leads((order, pairs) in dag(), reads in prop::collection::vec((0..40_usize, 0..40_usize), 1..30)) {
        let count = order.len();
        let mut reach = vec![vec![false; count]; count];
        for to in 0..count {
            for &(from, _) in pairs.iter().filter(|(_, target)| *target == to) {
                reach[from][to] = true;
                let before: Vec<usize> = (0..count).filter(|&i| reach[i][from]).collect();
                before.into_iter().for_each(|i| reach[i][to] = true);
            }
        }
        let reads: Vec<(usize, usize)> = reads.into_iter().map(|(a, b)| (a % count, b % count)).collect();
        let nodes: Vec<String> = order.iter().map(|i| {
            let texts: Vec<String> = reads.iter().filter(|(reader, _)| reader == i).map(|(_, read)| format!("\"${{nodes.n{read}.output.x}}\"")).collect();
            format!(r#"{{"id": "n{i}", "type": "function", "config": {{"name": "f"}}, "input": {{"x": [{}]}}}}"#, texts.join(","))
        }).collect();
        let links: Vec<String> = pairs.iter().map(|(from, to)| format!(r#"{{"from": "n{from}", "to": "n{to}"}}"#)).collect();
        let found = codes(&workflow(&nodes.join(","), &links.join(",")));
        let wrong: Vec<(usize, usize)> = reads.into_iter().filter(|&(reader, read)| !reach[read][reader]).collect();
        prop_assert_eq!(found.is_empty(), wrong.is_empty());
        prop_assert!(found.iter().all(|code| code.starts_with("NOT_UPSTREAM")));
        prop_assert_eq!(found.len(), wrong.len());
    }

    #[test]
    fn no_bytes_make_the_compiler_panic(text in "[\\[\\]{}:,\"a-c0-9 $]{0,80}") {
        let _ = compile(text.as_bytes(), None, &Limits::default());
    }
}

#[test]
fn far_references_are_answered_in_passes() {
    // A ladder wide enough that the short search gives up: node i reads node i - 900.
    let count = 3_000_usize;
    let nodes: Vec<String> = (0..count)
        .map(|i| {
            let reads = if i >= 900 { format!("${{nodes.n{}.output.x}}", i - 900) } else { String::new() };
            format!(r#"{{"id": "n{i}", "type": "function", "config": {{"name": "f"}}, "input": {{"x": "{reads}"}}}}"#)
        })
        .collect();
    let link = |from: usize, to: usize| format!(r#"{{"from": "n{from}", "to": "n{to}"}}"#);
    let links: Vec<String> = (2..count).flat_map(|i| [link(i - 1, i), link(i - 2, i)]).collect();
    assert!(codes(&workflow(&nodes.join(","), &links.join(","))).is_empty());
    // Cut the ladder in the middle: what reads across the cut is refused.
    let cut: Vec<String> =
        (2..count).filter(|&i| i != 1_500 && i != 1_501).flat_map(|i| [link(i - 1, i), link(i - 2, i)]).collect();
    let found = codes(&workflow(&nodes.join(","), &cut.join(",")));
    assert!(found.len() >= 899 && found.iter().all(|code| code.starts_with("NOT_UPSTREAM")), "{}", found.len());
}
