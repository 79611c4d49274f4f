//! `agent {model, prompt, tools, output_schema, may_patch}`: a call of a model. Only the prompt holds expressions.

use super::Common;
use super::common::check_function;
use crate::document::{Reader, nothing};
use crate::functions::FunctionTable;
use crate::ir::Kind;
use crate::schema;

pub(crate) fn read(reader: &mut Reader<'_, '_>, functions: Option<&FunctionTable>, node: &Common) -> Kind {
    let Some(config) = reader.required(node.config, node.at, "an agent node", "config") else {
        return Kind::Agent { model: Box::default(), may_patch: false, config: nothing() };
    };
    let what = "the config of an agent";
    let [model, prompt, tools, output_schema, may_patch] =
        reader.fields(config, what, ["model", "prompt", "tools", "output_schema", "may_patch"]);
    let model = model.and_then(|at| reader.name(at, "model")).unwrap_or_default();
    if let Some(at) = reader.required(prompt, config, what, "prompt") {
        reader.string(at, "prompt");
    }
    for at in tools.map(|at| reader.elements(at, "tools")).unwrap_or_default() {
        if let Some(name) = reader.name(at, "a tool") {
            check_function(reader, functions, at, &name);
            let hint = "call it in a function node beside the agent".to_owned();
            reader.note_hint(at, "BAD_VALUE", "an agent cannot call tools yet", Some(hint));
        }
    }
    if let Some(at) = output_schema {
        schema::check(reader, at);
    }
    let may_patch = may_patch.is_some_and(|at| reader.boolean(at, "may_patch").unwrap_or_default());
    Kind::Agent {
        model,
        may_patch,
        config: reader.templated(|compiler, document| compiler.compile_members(document, config, &["prompt"])),
    }
}
