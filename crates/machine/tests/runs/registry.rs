use crate::world::World;
use crate::{function, world_of};
use apex_machine::command::{Command, RegisterWorkflow, Selector, TagWorkflow};
use apex_machine::error::code;
use apex_machine::{Answer, Refusal};
use serde_json::json;

fn register(world: &mut World, version: &str, name: &str, tag: Option<&str>) -> Result<Answer, Refusal> {
    let definition = json!({"name": "w", "version": version, "edges": [], "nodes": [function(name, json!({}))]});
    world
        .ask(Command::RegisterWorkflow(RegisterWorkflow {
            tenant: "t".into(),
            definition: definition.to_string().into_bytes(),
            tag: tag.map(str::to_owned),
        }))
        .outcome
}

#[test]
fn a_version_is_immutable_and_the_same_one_again_is_idempotent() {
    let mut world = world_of(json!({"name": "w", "version": "1", "edges": [], "nodes": [function("a", json!({}))]}));
    let recorded = world.log.len();
    let again = register(&mut world, "1", "a", None).unwrap();
    assert!(again.existing);
    assert_eq!(world.log.len(), recorded);
    assert_eq!(register(&mut world, "1", "b", None).unwrap_err().code, code::WORKFLOW_EXISTS);
    let refused = world
        .ask(Command::RegisterWorkflow(RegisterWorkflow { tenant: "t".into(), definition: b"{}".to_vec(), tag: None }))
        .outcome
        .unwrap_err();
    assert_eq!(refused.code, code::WORKFLOW_INVALID);
    assert!(serde_json::from_slice::<serde_json::Value>(&refused.details).unwrap()["errors"].is_array());
}

#[test]
fn tags_move_and_latest_follows_main() {
    let mut world = world_of(json!({"name": "w", "version": "1", "edges": [], "nodes": [function("a", json!({}))]}));
    register(&mut world, "2", "b", Some("canary")).unwrap();
    let version = |world: &World, selector: Selector| {
        world.machine.workflow("t", "w", &selector).map(|view| view.version.to_string())
    };
    assert_eq!(version(&world, Selector::Latest).as_deref(), Some("1"));
    assert_eq!(version(&world, Selector::Tag("canary".into())).as_deref(), Some("2"));
    assert_eq!(version(&world, Selector::Tag("nope".into())), None);
    let tag = |version: &str, expected: Option<&str>| {
        Command::TagWorkflow(TagWorkflow {
            tenant: "t".into(),
            name: "w".into(),
            version: version.into(),
            tag: "main".into(),
            expected_version: expected.map(str::to_owned),
            arms: Vec::new(),
        })
    };
    assert_eq!(world.ask(tag("2", Some("9"))).outcome.unwrap_err().code, code::TAG_MOVED);
    let moved = world.ask(tag("2", Some("1"))).outcome.unwrap();
    assert_eq!(moved.details, b"{\"previous_version\":\"1\"}");
    assert_eq!(version(&world, Selector::Latest).as_deref(), Some("2"));
    assert_eq!(world.ask(tag("3", None)).outcome.unwrap_err().code, code::WORKFLOW_NOT_FOUND);
    let views = world.machine.workflows("t");
    assert_eq!(views.iter().map(|view| &*view.version).collect::<Vec<_>>(), ["2", "1"]);
    assert_eq!(views[0].tags, ["canary", "main"]);
}
