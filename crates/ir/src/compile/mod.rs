//! The compiler: document in, IR or diagnostics out. Linear in the document (references that reach far back cost a
//! scan of their graph for each 256 of them).
//!
//! `read` makes drafts of nodes and edges, `order` sorts each graph and names cycles, `references` checks what
//! expressions read, `lower` lays the drafts out flat. Faults of all stages are given at once; a stage runs only
//! where the ones before left it something to stand on.

mod lower;
mod order;
mod reach;
mod read;
mod recompile;
mod references;

pub(crate) use recompile::{recompile, unchanged};

use crate::document::Reader;
use crate::nodes::Shared;
use crate::value::ValueLimits;
use crate::value::scan::{check as check_json, read as read_json};
use crate::{Diagnostic, FunctionTable, Ir, Limits};
use order::{Ids, Order};
use read::Draft;

/// Compiles a definition.
///
/// With a function table, an unknown function is a fault and what a node does not state is filled in from the
/// table; without one, function names are taken as they are.
///
/// # Errors
/// All faults at once, in document order.
pub fn compile(definition: &[u8], functions: Option<&FunctionTable>, limits: &Limits) -> Result<Ir, Vec<Diagnostic>> {
    whole(definition, None, functions, limits)
}

/// Compiles all of a definition. What it calls as the one before did stays as that one states it, whatever the functions
/// say now.
fn whole(
    definition: &[u8],
    before: Option<&Ir>,
    functions: Option<&FunctionTable>,
    limits: &Limits,
) -> Result<Ir, Vec<Diagnostic>> {
    let json_limits = json_limits(limits);
    let document = read_json(definition, &json_limits).map_err(|error| vec![error.into()])?;
    let mut reader = Reader::new(document, limits);
    let mut draft = read::read(&mut reader, Shared::new(functions, before, 1));
    let Some((ids, order)) = link(&mut reader, &mut draft) else { return Err(reader.finish()) };
    let text = lower::Text::of(&reader.document, &draft);
    // With what was filled in it must be a definition still, for it is compiled again where it is needed.
    if !draft.extras.is_empty() || text.canonical.len() > limits.bytes_max {
        check_json(&text.canonical, &json_limits).map_err(|error| vec![error.into()])?;
    }
    match lower::lower(&mut reader, draft, order, ids, text, None) {
        Some(ir) => Ok(ir),
        None => Err(reader.finish()),
    }
}

/// Finds ids, the ends of edges and an order, and checks what expressions read. `None`: the reader has a fault.
fn link<'a>(reader: &mut Reader<'a, '_>, draft: &mut Draft<'a>) -> Option<(Ids, Order)> {
    let ids = order::index(reader, draft);
    order::connect(reader, draft, &ids);
    let order = order::sort(reader, draft);
    references::check(reader, draft, &ids, &order);
    reader.is_faultless().then_some((ids, order))
}

/// How large a document may be that is a definition.
fn json_limits(limits: &Limits) -> ValueLimits {
    ValueLimits { bytes_max: limits.bytes_max, depth_max: limits.depth_max }
}
