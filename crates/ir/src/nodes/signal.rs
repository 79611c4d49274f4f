//! `signal {name, timeout_s, on_timeout}`: a wait for a signal.

use super::Common;
use crate::document::{Reader, nothing};
use crate::ir::Kind;

const ON_TIMEOUT: [&str; 2] = ["fail", "continue"];

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let what = "the config of a signal";
    let Some(config) = reader.required(node.config, node.at, "a signal node", "config") else {
        return Kind::Signal { name: nothing(), timeout_ns: None, on_timeout: ON_TIMEOUT[0].into() };
    };
    let [name, timeout, on_timeout] = reader.fields(config, what, ["name", "timeout_s", "on_timeout"]);
    let name = match reader.required(name, config, what, "name") {
        Some(at) => reader.text_template(at, "the name of a signal"),
        None => nothing(),
    };
    let place = on_timeout.and_then(|at| reader.word(at, "on_timeout", &ON_TIMEOUT)).unwrap_or(0);
    Kind::Signal {
        name,
        timeout_ns: timeout.and_then(|at| reader.seconds(at, "timeout_s", false)),
        on_timeout: ON_TIMEOUT[place].into(),
    }
}
