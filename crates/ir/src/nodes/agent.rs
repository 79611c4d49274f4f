//! `agent {model, prompt, tools, output_schema, may_patch}`: a call of a model. Only the prompt holds expressions.

use super::Common;
use super::common::check_function;
use crate::document::{Reader, nothing};
use crate::functions::FunctionTable;
use crate::ir::Kind;
use crate::schema;

pub(crate) fn read(reader: &mut Reader<'_, '_>, functions: Option<&FunctionTable>, node: &Common) -> Kind {
    let Some(config) = reader.required(node.config, node.at, "an agent node", "config") else {
        return Kind::Agent { config: nothing() };
    };
    let what = "the config of an agent";
    let [model, prompt, tools, output_schema, may_patch] =
        reader.fields(config, what, ["model", "prompt", "tools", "output_schema", "may_patch"]);
    if let Some(at) = model {
        reader.name(at, "model");
    }
    if let Some(at) = reader.required(prompt, config, what, "prompt") {
        reader.string(at, "prompt");
    }
    for at in tools.map(|at| reader.elements(at, "tools")).unwrap_or_default() {
        if let Some(name) = reader.name(at, "a tool") {
            check_function(reader, functions, at, &name);
        }
    }
    if let Some(at) = output_schema {
        schema::check(reader, at);
    }
    if let Some(at) = may_patch {
        reader.boolean(at, "may_patch");
    }
    Kind::Agent {
        config: reader.templated(|compiler, document| compiler.compile_members(document, config, &["prompt"])),
    }
}
