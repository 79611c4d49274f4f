//! `map {over, body, max_concurrency, on_item_error}`: a body for each item of a list.

use super::Common;
use super::common::{BodyAt, Shared};
use crate::document::{Reader, nothing};
use crate::ir::{GraphIx, Kind};
use crate::value::scan::{At, Kind as Json};

/// Items in flight where the definition does not say.
const CONCURRENCY: u32 = 64;

pub(crate) fn read(reader: &mut Reader<'_, '_>, shared: &mut Shared<'_>, node: &Common, ix: u32) -> Kind {
    let what = "the config of a map";
    let items_max = reader.limits.items_max;
    let Some(config) = reader.required(node.config, node.at, "a map node", "config") else {
        return Kind::Map {
            over: nothing(),
            body: 0,
            max_concurrency: CONCURRENCY,
            items_max,
            skip_item_errors: false,
        };
    };
    let [over, body, concurrency, on_item_error] =
        reader.fields(config, what, ["over", "body", "max_concurrency", "on_item_error"]);
    let over = match reader.required(over, config, what, "over") {
        Some(at) => {
            let over = reader.template(at);
            if reader.document.kind(at) != Json::Array && !over.is_single() {
                reader.wrong_type(at, "over", "a list, or one `${…}` that gives one");
            }
            over
        }
        None => nothing(),
    };
    let most = reader.limits.items_max.max(1);
    Kind::Map {
        over,
        body: reader.required(body, config, what, "body").map_or(0, |at| read_body(shared, at, ix)),
        max_concurrency: concurrency
            .and_then(|at| reader.integer(at, "max_concurrency", 1, most))
            .unwrap_or(CONCURRENCY),
        items_max,
        skip_item_errors: on_item_error.and_then(|at| reader.word(at, "on_item_error", &["fail", "skip"])) == Some(1),
    }
}

/// Puts a body on the list of graphs that are still to be read; gives its number.
pub(crate) fn read_body(shared: &mut Shared<'_>, at: At, owner: u32) -> GraphIx {
    let graph = shared.graphs;
    shared.graphs += 1;
    shared.bodies.push(BodyAt { at, owner, graph });
    graph
}
