//! The document as drafts: the workflow's own graph first, then each body in the order met. No recursion.

use crate::document::{Reader, clip};
use crate::expressions::{Expression, Template};
use crate::ir::GraphIx;
use crate::nodes::{NodeDraft, Shared, read_node};
use crate::schema;
use crate::value::canonical::Extra;
use crate::value::scan::{At, Kind};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A definition as read.
pub(crate) struct Draft<'a> {
    pub(crate) name: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) inputs: Option<At>,
    pub(crate) timeout_ns: Option<i64>,
    pub(crate) compensation_timeout_ns: Option<i64>,
    pub(crate) graphs: Vec<GraphDraft>,
    /// Those of one graph stand together, in the order written.
    pub(crate) nodes: Vec<NodeDraft>,
    /// Those of one graph stand together, in the order written.
    pub(crate) edges: Vec<EdgeDraft<'a>>,
    /// Members that the function table fills in, by the slot of their object, sorted.
    pub(crate) extras: Vec<(At, Extra)>,
}

/// A graph as read.
pub(crate) struct GraphDraft {
    pub(crate) owner: Option<u32>,
    pub(crate) nodes: Range<u32>,
    pub(crate) edges: Range<u32>,
    pub(crate) output: Option<(At, Arc<Template>)>,
    pub(crate) depth: usize,
}

/// An edge as read.
pub(crate) struct EdgeDraft<'a> {
    pub(crate) at: At,
    pub(crate) place: u32,
    pub(crate) graph: GraphIx,
    pub(crate) from: (At, Cow<'a, str>),
    pub(crate) to: (At, Cow<'a, str>),
    /// Indexes of the drafts of its ends, where both are known.
    pub(crate) ends: Option<(u32, u32)>,
    pub(crate) when: Option<(At, Arc<Expression>)>,
    pub(crate) on_error: bool,
}

/// Reads a whole definition.
pub(crate) fn read<'a>(reader: &mut Reader<'a, '_>, mut shared: Shared<'_>) -> Draft<'a> {
    let what = "a workflow";
    let [name, version, inputs, nodes, edges, output, timeout, compensation_timeout] = reader.fields(
        0,
        what,
        ["name", "version", "inputs", "nodes", "edges", "output", "timeout_s", "compensation_timeout_s"],
    );
    let mut draft = Draft {
        name: reader.required(name, 0, what, "name").and_then(|at| label(reader, at, "the name")).unwrap_or_default(),
        version: reader
            .required(version, 0, what, "version")
            .and_then(|at| label(reader, at, "the version"))
            .unwrap_or_default(),
        inputs,
        timeout_ns: timeout.and_then(|at| reader.seconds(at, "timeout_s", false)),
        compensation_timeout_ns: compensation_timeout
            .and_then(|at| reader.seconds(at, "compensation_timeout_s", false)),
        graphs: Vec::new(),
        nodes: Vec::new(),
        edges: Vec::new(),
        extras: Vec::new(),
    };
    if let Some(at) = inputs {
        schema::check(reader, at);
    }
    reader.required(nodes, 0, what, "nodes");
    read_graph(reader, &mut shared, &mut draft, None, [nodes, edges, output]);
    let mut next = 0;
    while let Some(&body) = shared.bodies.get(next) {
        next += 1;
        let fields = reader.fields(body.at, "a body", ["nodes", "edges", "output"]);
        reader.required(fields[0], body.at, "a body", "nodes");
        debug_assert_eq!(body.graph as usize, draft.graphs.len());
        read_graph(reader, &mut shared, &mut draft, Some((body.at, body.owner)), fields);
    }
    draft.fill(shared.extras);
    draft
}

impl Draft<'_> {
    /// Takes what the function table fills in.
    pub(super) fn fill(&mut self, mut extras: Vec<(At, Extra)>) {
        extras.sort_by_key(|(at, _)| *at);
        self.extras = extras;
    }

    /// What is filled in to the object of a slot.
    pub(super) fn extra(&self, at: At) -> Option<&Extra> {
        self.extras.binary_search_by_key(&at, |(at, _)| *at).ok().map(|place| &self.extras[place].1)
    }
}

/// A name or version: it stands in paths and file names.
fn label(reader: &mut Reader<'_, '_>, at: At, what: &str) -> Option<Box<str>> {
    let text = reader.string(at, what)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+');
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed) && text.as_bytes()[0] != b'.' {
        return Some(text.into());
    }
    let message = format!("{what} {:?} must have 1 to 128 letters, digits, `_`, `.`, `-`, `+`", clip(&text));
    reader.note(at, "BAD_VALUE", message);
    None
}

fn read_graph<'a>(
    reader: &mut Reader<'a, '_>,
    shared: &mut Shared<'_>,
    draft: &mut Draft<'a>,
    body: Option<(At, u32)>,
    [nodes, edges, output]: [Option<At>; 3],
) {
    let graph = draft.graphs.len() as GraphIx;
    let depth = body.map_or(0, |(_, owner)| draft.graphs[draft.nodes[owner as usize].graph as usize].depth + 1);
    let (first_node, first_edge) = (draft.nodes.len() as u32, draft.edges.len() as u32);
    let too_deep = depth > reader.limits.bodies_max;
    if let (true, Some((at, _))) = (too_deep, body) {
        let message = format!("bodies are nested deeper than {}", reader.limits.bodies_max);
        reader.note(at, "LIMIT_EXCEEDED", message);
    }
    if let (Some(at), false) = (nodes, too_deep) {
        let elements = reader.elements(at, "nodes");
        if elements.is_empty() && reader.document.kind(at) == Kind::Array {
            reader.note(at, "BAD_VALUE", "a graph needs at least one node");
        }
        let most = reader.limits.nodes_max;
        if draft.nodes.len() + elements.len() > most {
            reader.note(at, "LIMIT_EXCEEDED", format!("more than {most} nodes"));
        } else {
            draft.nodes.reserve(elements.len());
            for (place, element) in elements.into_iter().enumerate() {
                let ix = draft.nodes.len() as u32;
                draft.nodes.push(read_node(reader, shared, element, graph, ix, place as u32));
            }
        }
    }
    if let (Some(at), false) = (edges, too_deep) {
        let elements = reader.elements(at, "edges");
        let most = reader.limits.edges_max;
        if draft.edges.len() + elements.len() > most {
            reader.note(at, "LIMIT_EXCEEDED", format!("more than {most} edges"));
        } else {
            draft.edges.reserve(elements.len());
            for (place, element) in elements.into_iter().enumerate() {
                draft.edges.extend(read_edge(reader, element, graph, place as u32));
            }
        }
    }
    let output = output.map(|at| (at, Arc::new(reader.template(at))));
    draft.graphs.push(GraphDraft {
        owner: body.map(|(_, owner)| owner),
        nodes: first_node..draft.nodes.len() as u32,
        edges: first_edge..draft.edges.len() as u32,
        output,
        depth,
    });
}

pub(super) fn read_edge<'a>(reader: &mut Reader<'a, '_>, at: At, graph: GraphIx, place: u32) -> Option<EdgeDraft<'a>> {
    let [from, to, when, on] = reader.fields(at, "an edge", ["from", "to", "when", "on"]);
    let from_at = reader.required(from, at, "an edge", "from");
    let to_at = reader.required(to, at, "an edge", "to");
    let from = from_at.and_then(|at| Some((at, reader.string(at, "from")?)));
    let to = to_at.and_then(|at| Some((at, reader.string(at, "to")?)));
    let when = when.and_then(|at| Some((at, Arc::new(reader.expression(at, "when")?))));
    let on_error = on.and_then(|at| reader.word(at, "on", &["error"])).is_some();
    Some(EdgeDraft { at, place, graph, from: from?, to: to?, ends: None, when, on_error })
}
