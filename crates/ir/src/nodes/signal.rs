//! `signal {name, match, timeout_s, on_timeout}`: a wait for a signal. `signal {name, send}`: a signal to another run.

use super::Common;
use crate::document::{Reader, nothing};
use crate::ir::{Kind, Send};
use crate::value::scan::At;

const ON_TIMEOUT: [&str; 2] = ["fail", "continue"];

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let what = "the config of a signal";
    let mut kind = (nothing(), None, None, false, None);
    if let Some(config) = reader.required(node.config, node.at, "a signal node", "config") {
        let [name, matches, timeout, on_timeout, send] =
            reader.fields(config, what, ["name", "match", "timeout_s", "on_timeout", "send"]);
        if let Some(at) = reader.required(name, config, what, "name") {
            kind.0 = reader.text_template(at, "the name of a signal");
        }
        for (at, field) in [(matches, "match"), (timeout, "timeout_s"), (on_timeout, "on_timeout")] {
            if let (Some(at), Some(_)) = (at, send) {
                reader.note(at - 1, "BAD_VALUE", format!("a node that sends a signal waits for none: no `{field}`"));
            }
        }
        kind.1 = matches.and_then(|at| reader.expression(at, "match"));
        kind.2 = timeout.and_then(|at| reader.seconds(at, "timeout_s", false));
        kind.3 = on_timeout.and_then(|at| reader.word(at, "on_timeout", &ON_TIMEOUT)) == Some(1);
        kind.4 = send.map(|at| Box::new(read_send(reader, at)));
    }
    let (name, matches, timeout_ns, continues, send) = kind;
    Kind::Signal { name, matches, timeout_ns, continues, send }
}

fn read_send(reader: &mut Reader<'_, '_>, at: At) -> Send {
    let [run_id, payload] = reader.fields(at, "`send`", ["run_id", "payload"]);
    let run_id = match reader.required(run_id, at, "`send`", "run_id") {
        Some(at) => reader.text_template(at, "the run_id of a signal"),
        None => nothing(),
    };
    Send { run_id, payload: payload.map_or_else(nothing, |at| reader.template(at)) }
}
