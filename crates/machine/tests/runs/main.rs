//! What a run does, command by command: a file each.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[path = "../world/mod.rs"]
mod world;

mod agent;
mod approval;
mod breaker;
mod cancel;
mod composite;
mod conflict;
mod correction;
mod dead_letter;
mod erase;
mod fast;
mod heartbeat;
mod limits;
mod lock;
mod r#loop;
mod map;
mod migrate;
mod node_states;
mod patch;
mod patch_set;
mod pause;
mod proposal;
mod query;
mod rate;
mod recovery;
mod registry;
mod replay;
mod result;
mod routing;
mod saga;
mod schedule;
mod signal;
mod start;
mod timer;

use serde_json::{Value, json};
use world::World;

/// A world with one workflow, `w`.
fn world(nodes: &Value, edges: &Value) -> World {
    world_of(json!({"name": "w", "version": "1", "nodes": nodes, "edges": edges}))
}

fn world_of(definition: Value) -> World {
    let mut world = World::new(apex_machine::Config { partitions: 4, ..apex_machine::Config::default() });
    world.register(&definition.to_string());
    world
}

/// A function node with what else is said of it.
fn function(id: &str, more: Value) -> Value {
    let mut node = json!({"id": id, "type": "function", "config": {"name": id}});
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

fn edge(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}

/// The payload of the run's last event of this name.
fn last(world: &World, run: &apex_machine::RunId, name: &str) -> Value {
    match world.events(run).into_iter().rev().find(|event| event.name == name) {
        Some(event) => event.payload.clone(),
        None => panic!("no {name} among {:?}", world.names(run)),
    }
}
