//! `composite {workflow, version | tag, inputs}`: another workflow.

use super::Common;
use super::function::arguments;
use crate::document::{Reader, nothing};
use crate::expressions::Template;
use crate::ir::Kind;

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let what = "the config of a composite";
    let Some(config) = reader.required(node.config, node.at, "a composite node", "config") else {
        return Kind::Composite { workflow: Box::default(), version: None, tag: None, inputs: nothing() };
    };
    let [workflow, version, tag, inputs] = reader.fields(config, what, ["workflow", "version", "tag", "inputs"]);
    let workflow =
        reader.required(workflow, config, what, "workflow").and_then(|at| reader.name(at, "the name of a workflow"));
    match (version, tag) {
        (Some(_), Some(tag)) => reader.note(tag - 1, "BAD_VALUE", "a composite has a version or a tag, not both"),
        (None, None) => reader.either(config, what, "version", "tag"),
        _ => {}
    }
    Kind::Composite {
        workflow: workflow.unwrap_or_default(),
        version: version.and_then(|at| reader.name(at, "version")),
        tag: tag.and_then(|at| reader.name(at, "tag")),
        inputs: match inputs {
            Some(at) => arguments(reader, at, "the inputs of a composite"),
            None => Template::literal(b"{}".to_vec()),
        },
    }
}
