//! What stands against a patch is said so that a program can make its patch anew.

use crate::last;
use crate::patch::{applied, begun, on, patch, refused, roll_back, row};
use crate::world::World;
use apex_machine::RunId;
use serde_json::{Value, json};

fn renames(node: usize, name: &str) -> Value {
    json!({"op": "replace", "path": format!("/nodes/{node}/config/name"), "value": name})
}

/// The part of the refusal for programs.
fn conflict(world: &mut World, run: RunId, epoch: u32, operations: &Value) -> Value {
    let refusal = refused(on(world, run, epoch, operations));
    assert_eq!(refusal.code, "PATCH_CONFLICT");
    let mut details: Value = serde_json::from_slice(&refusal.details).unwrap();
    details["conflict"].take()
}

fn sets(node: &str, name: &str) -> Value {
    json!({"op": "set", "node": node, "at": "/config/name", "value": name})
}

#[test]
fn each_patch_in_the_way_says_what_it_does_where_both_touch_the_same() {
    let (mut world, run) = begun(row(&["a", "b", "c", "d"]));
    let both = json!([renames(1, "f1"), renames(2, "f2")]);
    applied(patch(&mut world, run, &both));
    applied(patch(&mut world, run, &json!([renames(2, "g2"), renames(3, "g3")])));
    let own = json!([renames(1, "h1"), renames(2, "h2")]);
    let found = conflict(&mut world, run, 0, &own);
    assert_eq!(found["epoch"], 2);
    let [first, second] = found["patches"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!(first["operations"], json!([sets("b", "f1"), sets("c", "f2")]));
    assert_eq!(first["own_operations"], json!([sets("b", "h1"), sets("c", "h2")]));
    assert_eq!(first["what"].as_array().unwrap().len(), 2, "{first}");
    assert_eq!(second["operations"], json!([sets("c", "g2")]), "d is nothing to the other one");
    assert_eq!(second["own_operations"], json!([sets("c", "h2")]));
    assert_eq!((&second["epoch"], &second["dropped_epoch"]), (&json!(2), &json!(0)));
}

#[test]
fn what_the_patch_was_made_on_is_not_in_its_way() {
    let (mut world, run) = begun(row(&["a", "b"]));
    let (id, _) = applied(patch(&mut world, run, &json!([renames(1, "f1")])));
    assert_eq!(conflict(&mut world, run, 0, &json!([renames(1, "h1")]))["patches"][0]["epoch"], 1);
    applied(on(&mut world, run, 1, &json!([renames(1, "h1")])));
    assert_eq!(last(&world, &run, "PatchApplied")["base_epoch"], 1);
    // Nor is one that was dropped by then.
    let (mut world, run) = begun(row(&["a", "b", "c"]));
    applied(patch(&mut world, run, &json!([renames(1, "f1")])));
    applied(roll_back(&mut world, &id));
    assert_eq!(conflict(&mut world, run, 1, &json!([renames(1, "h1")]))["patches"][0]["dropped_epoch"], 2);
    applied(patch(&mut world, run, &json!([renames(2, "g2")])));
    applied(on(&mut world, run, 2, &json!([renames(1, "h1")])));
}

#[test]
fn operations_that_are_too_many_bytes_are_left_out_one_patch_at_a_time() {
    let (mut world, run) = begun(row(&["a", "b", "c"]));
    let long = json!([{"op": "add", "path": "/nodes/1/input", "value": {"x": "x".repeat(9_000)}}]);
    applied(patch(&mut world, run, &long));
    applied(patch(&mut world, run, &json!([renames(2, "f2")])));
    let own = json!([{"op": "add", "path": "/nodes/1/input", "value": {"x": "y"}}, renames(2, "h2")]);
    let found = conflict(&mut world, run, 0, &own);
    assert_eq!((&found["patches"][0]["truncated"], &found["patches"][0]["operations"]), (&json!(true), &Value::Null));
    assert_eq!(found["patches"][1]["operations"], json!([sets("c", "f2")]));
    assert!(found.get("truncated").is_none(), "both are named");
}
