//! `loop {body, while, max_iterations}`: a body again and again while a condition holds.

use super::Common;
use super::common::Shared;
use super::map::read_body;
use crate::document::Reader;
use crate::ir::Kind;

pub(crate) fn read(reader: &mut Reader<'_, '_>, shared: &mut Shared<'_>, node: &Common, ix: u32) -> Kind {
    let what = "the config of a loop";
    let Some(config) = reader.required(node.config, node.at, "a loop node", "config") else { return Kind::Join };
    let [body, condition, iterations] = reader.fields(config, what, ["body", "while", "max_iterations"]);
    let body = reader.required(body, config, what, "body").map(|at| read_body(shared, at, ix));
    let condition = reader.required(condition, config, what, "while").and_then(|at| reader.expression(at, "while"));
    let most = reader.limits.iterations_max.max(1);
    let iterations = reader
        .required(iterations, config, what, "max_iterations")
        .and_then(|at| reader.integer(at, "max_iterations", 1, most));
    match (body, condition, iterations) {
        (Some(body), Some(condition), Some(max_iterations)) => Kind::Loop { body, condition, max_iterations },
        // What is missing is noted; the body, if there is one, is still read.
        _ => Kind::Join,
    }
}
