//! Questions about a run.

use crate::world::World;
use crate::{edge, function};
use apex_machine::{Config, RunId};
use serde_json::{Value, json};

fn ask(world: &mut World, run: &RunId, question: &str) -> Result<Value, &'static str> {
    let recorded = world.log.len();
    let answer = world.machine.query("t", run, question).map_err(|refusal| refusal.code)?;
    assert_eq!((world.log.len(), answer.epoch), (recorded, 0), "a question records nothing");
    assert_eq!(answer.offset, world.view(run).offset);
    Ok(serde_json::from_slice(&answer.json).unwrap())
}

/// `a`, then `b` and `c` beside each other, and a map.
fn begun(bytes_max: usize) -> (World, RunId) {
    let body = json!({"nodes": [function("f", json!({}))], "edges": []});
    let mut config = Config { partitions: 4, ..Config::default() };
    config.limits.rendered_bytes_max = bytes_max;
    let mut world = World::new(config);
    let definition = json!({"name": "w", "version": "1", "edges": [edge("a", "b"), edge("a", "c"), edge("b", "m")],
        "nodes": [function("a", json!({})), function("b", json!({"input": {"n": "${nodes.a.output.n}"}})),
            function("c", json!({})), {"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}}]});
    world.register(&definition.to_string());
    let run = world.start("w", 1, "{\"x\":7}");
    (world, run)
}

#[test]
fn a_run_says_where_it_is() {
    let (mut world, run) = begun(1_000);
    world.ok("a", "{\"n\":5}");
    assert_eq!(ask(&mut world, &run, "state"), Ok(json!("RUNNING")));
    let progress = json!({"nodes_done": 1, "nodes_total": 4, "active": ["b", "c"]});
    assert_eq!(ask(&mut world, &run, "progress"), Ok(progress));
    assert_eq!(ask(&mut world, &run, "nodes"), Ok(json!({"a": "ok", "b": "running", "c": "running"})));
    assert_eq!(ask(&mut world, &run, "nodes.a.output.n + inputs.x"), Ok(json!(12)));
    world.ok("b", "1");
    let nodes = ask(&mut world, &run, "nodes").unwrap();
    assert_eq!((&nodes["m[0].f"], &nodes["m[1].f"]), (&json!("running"), &json!("running")));
    while let Some(job) = world.jobs.values().next().cloned() {
        world.ok(&job.node, "1");
    }
    assert_eq!(ask(&mut world, &run, "state"), Ok(json!("COMPLETED")));
    assert_eq!(ask(&mut world, &run, "progress").unwrap()["nodes_done"], 4);
    assert_eq!(ask(&mut world, &run, "nodes"), Err("RUN_ENDED"), "what it held is gone");
}

#[test]
fn a_question_that_has_no_answer_says_why() {
    let (mut world, run) = begun(10);
    for (question, code) in [
        ("1 +", "EXPRESSION_INVALID"),
        ("nodes.nobody.status", "EXPRESSION_INVALID"),
        ("nodes.f.status", "EXPRESSION_INVALID"),
        ("inputs.x / 0", "EXPRESSION_FAILED"),
        ("1.0 / 0.0", "EXPRESSION_FAILED"),
        ("'123456789'", "EXPRESSION_FAILED"),
    ] {
        assert_eq!(ask(&mut world, &run, question), Err(code), "{question}");
    }
    assert_eq!(ask(&mut world, &run, "'12345678'"), Ok(json!("12345678")), "ten bytes with its quotes");
    assert_eq!(world.machine.query("other", &run, "state").map(drop).unwrap_err().code, "RUN_NOT_FOUND");
    let nobody = RunId::new_v7(1, 0, 1);
    assert_eq!(world.machine.query("t", &nobody, "state").map(drop).unwrap_err().code, "RUN_NOT_FOUND");
}
