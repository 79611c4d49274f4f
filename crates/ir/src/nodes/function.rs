//! `function {name, config}` with `input`: a registered function, called with the members of `input` as keywords.

use super::Common;
use super::common::check_function;
use crate::document::{Reader, nothing};
use crate::expressions::Template;
use crate::functions::FunctionTable;
use crate::ir::Kind;
use crate::value::scan::{At, Kind as Json};

pub(crate) fn read(reader: &mut Reader<'_, '_>, functions: Option<&FunctionTable>, node: &Common) -> Kind {
    let input = match node.input {
        Some(at) => arguments(reader, at, "the input of a function"),
        None => Template::literal(b"{}".to_vec()),
    };
    let Some(config_at) = reader.required(node.config, node.at, "a function node", "config") else {
        return Kind::Function { name: Box::default(), input, config: None };
    };
    let [name, config] = reader.fields(config_at, "the config of a function", ["name", "config"]);
    let name_at = reader.required(name, config_at, "the config of a function", "name");
    let name = name_at.and_then(|at| {
        let name = reader.name(at, "the name of a function")?;
        check_function(reader, functions, at, &name);
        Some(name)
    });
    let config = config.map(|at| reader.templated(|compiler, document| compiler.compile_with_secrets(document, at)));
    Kind::Function { name: name.unwrap_or_default(), input, config }
}

/// Keyword arguments: an object, or one expression that gives one.
pub(crate) fn arguments(reader: &mut Reader<'_, '_>, at: At, what: &str) -> Template {
    let template = match reader.document.kind(at) {
        Json::Object | Json::String => reader.template(at),
        _ => nothing(),
    };
    let single = template.is_single();
    if reader.document.kind(at) != Json::Object && !single {
        reader.wrong_type(at, what, "an object, or one `${…}` that gives one");
    }
    template
}
