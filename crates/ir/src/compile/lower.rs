//! Drafts to the IR: final indexes, flat arrays, what is kept of each output, canonical bytes and hash.

use super::order::{Ids, Order};
use super::read::Draft;
use crate::digest::ir_hash;
use crate::document::Reader;
use crate::expressions::{Expression, Reference, Root, Template};
use crate::ir::{Edge, Fallback, Graph, Ir, Keeps, Kind, Node, NodeIx, NodeType, Timer};
use crate::nodes::NodeDraft;
use crate::value::canonical::{Extra, Span, write, write_with};
use crate::value::scan::At;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Nodes that joins with `cancel_rest` may name in all, for each node of the definition (and 1,000 more): a chain
/// of such joins would name all before it again and again.
const CANCELLED_PER_NODE: usize = 8;

/// Lays a faultless draft out. `None` where a limit that only shows here is exceeded: the reader has it.
pub(crate) fn lower(reader: &mut Reader<'_, '_>, draft: Draft<'_>, order: Order, ids: Ids) -> Option<Ir> {
    let (canonical, spans) = canonical(reader, &draft.extras);
    let written = |at: At| {
        let (start, end) = spans[at as usize];
        start..end
    };
    let inputs_schema = draft.inputs.map(|at| {
        let mut out = Vec::new();
        write(&reader.document, at, &mut out);
        out.into_boxed_slice()
    });
    let count = draft.nodes.len();
    // Each number changes by itself, so the order of the walk does not matter.
    let mut by_id = ids;
    by_id.values_mut().for_each(|ix| *ix = order.place[*ix as usize]);
    let unsupported = unsupported(&draft);
    let Draft { name, version, graphs, nodes, edges, timeout_ns, compensation_timeout_ns, .. } = draft;

    // Edges, sorted by source and target.
    let place = |ix: u32| order.place[ix as usize];
    let mut sorted: Vec<(u32, u32, bool, u32)> = edges
        .iter()
        .enumerate()
        .filter_map(|(ix, edge)| edge.ends.map(|(from, to)| (place(from), place(to), edge.on_error, ix as u32)))
        .collect();
    sorted.sort_unstable();
    let mut resolver = Resolver { by_id: &by_id, kept: Vec::new() };
    let prefixes = prefixes(&graphs, &nodes);
    let mut drafts: Vec<Option<_>> = edges.into_iter().map(Some).collect();
    let mut flat = Vec::with_capacity(sorted.len());
    let (mut out, mut into) = (vec![0_u32; count + 1], vec![0_u32; count + 1]);
    for &(from, to, on_error, ix) in &sorted {
        let Some(edge) = drafts[ix as usize].take() else { continue };
        let mut when = edge.when.map(|(_, guard)| guard);
        if let Some(guard) = &mut when {
            resolver.expression(guard);
        }
        out[from as usize + 1] += 1;
        into[to as usize + 1] += 1;
        let pointer = pointer(&prefixes[edge.graph as usize], "/edges/", edge.place);
        flat.push(Edge { from, to, when, on_error, pointer, written: written(edge.at) });
    }
    for i in 0..count {
        out[i + 1] += out[i];
        into[i + 1] += into[i];
    }
    let mut in_edges = vec![0_u32; flat.len()];
    let mut next = into.clone();
    for (ix, edge) in flat.iter().enumerate() {
        in_edges[next[edge.to as usize] as usize] = ix as u32;
        next[edge.to as usize] += 1;
    }

    // Graphs; those without an output give the outputs of their leaves.
    let mut first = 0_u32;
    let mut flat_graphs = Vec::with_capacity(graphs.len());
    let mut leaf_outputs = vec![false; count];
    for graph in graphs {
        let range = first..first + graph.nodes.len() as u32;
        first = range.end;
        // In the order written: drafts of a graph stand together in that order.
        let written = || graph.nodes.clone().map(place);
        let roots = written().filter(|&ix| into[ix as usize] == into[ix as usize + 1]).collect();
        let leaves: Box<[NodeIx]> = written().filter(|&ix| out[ix as usize] == out[ix as usize + 1]).collect();
        let mut output = graph.output.map(|(_, output)| output);
        match &mut output {
            Some(output) => resolver.template(output),
            None => leaves.iter().for_each(|&leaf| leaf_outputs[leaf as usize] = true),
        }
        flat_graphs.push(Graph { owner: graph.owner.map(place), nodes: range, roots, output, leaves });
    }

    // Nodes.
    let mut drafts: Vec<Option<NodeDraft>> = nodes.into_iter().map(Some).collect();
    let mut flat_nodes = Vec::with_capacity(count);
    let mut functions: Vec<Box<str>> = Vec::new();
    let mut cancelled = Cancelled::new(count, reader.limits.nodes_max);
    for &from in &order.drafts {
        let Some(mut node) = drafts[from as usize].take() else { continue };
        let ix = flat_nodes.len() as NodeIx;
        resolver.kind(&mut node.kind);
        if let Some(key) = &mut node.concurrency_key {
            resolver.template(key);
        }
        if let Some(Fallback::Value(value)) = node.breaker.as_mut().and_then(|breaker| breaker.fallback.as_mut()) {
            resolver.template(value);
        }
        if let Kind::Function { name, .. } = &node.kind {
            functions.push(name.clone());
        }
        if let Some(compensation) = &mut node.compensation {
            resolver.template(&mut compensation.input);
            functions.push(compensation.name.clone());
        }
        let cancel_rest = match node.cancel_rest {
            true => cancelled.of(ix, &flat, &in_edges, &out, &into),
            false => Some(Box::default()),
        };
        let Some(cancel_rest) = cancel_rest else {
            let message = "the joins with `cancel_rest` name too many nodes in all";
            reader.note(node.at, "LIMIT_EXCEEDED", message);
            return None;
        };
        let pointer = pointer(&prefixes[node.graph as usize], "/nodes/", node.place);
        flat_nodes.push(Node {
            id: node.id,
            graph: node.graph,
            kind: node.kind,
            join: node.join,
            cancel_rest,
            out: out[ix as usize]..out[ix as usize + 1],
            into: into[ix as usize]..into[ix as usize + 1],
            effect: node.effect,
            retry: node.retry,
            timeout_ns: node.timeout_ns,
            schedule_to_close_ns: node.schedule_to_close_ns,
            heartbeat_timeout_ns: node.heartbeat_timeout_ns,
            breaker: node.breaker,
            correction: node.correction,
            on_error: node.on_error,
            compensation: node.compensation,
            priority: node.priority,
            concurrency_key: node.concurrency_key,
            rate_limit: node.rate_limit,
            keeps: if leaf_outputs[ix as usize] { Keeps::All } else { Keeps::Nothing },
            pointer,
            written: written(node.at),
        });
    }
    keep(&mut flat_nodes, resolver.kept);
    functions.sort_unstable();
    functions.dedup();
    Some(Ir {
        hash: ir_hash(&canonical),
        name,
        version,
        canonical: canonical.into(),
        inputs_schema,
        nodes: flat_nodes.into(),
        edges: flat.into(),
        in_edges: in_edges.into(),
        graphs: flat_graphs.into(),
        timeout_ns,
        compensation_timeout_ns,
        unsupported,
        functions: functions.into(),
        inputs_check: OnceLock::new(),
        by_id,
        tree: OnceLock::new(),
    })
}

/// The document in canonical form, with what was filled in, and where its objects stand in it.
fn canonical(reader: &Reader<'_, '_>, extras: &[(At, Extra)]) -> (Vec<u8>, Vec<Span>) {
    let mut out = Vec::with_capacity(reader.document.text.len());
    let mut spans = vec![(0, 0); reader.document.slots.len()];
    let extra = |at: At| extras.binary_search_by_key(&at, |(at, _)| *at).ok().map(|place| &extras[place].1);
    write_with(&reader.document, 0, &extra, &mut spans, &mut out);
    (out, spans)
}

/// The pointer of an element of a graph, in one allocation: there are as many as nodes and edges.
fn pointer(prefix: &str, member: &str, place: u32) -> Box<str> {
    let (mut digits, mut first, mut rest) = ([b'0'; 10], 10, place);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let mut text = String::with_capacity(prefix.len() + member.len() + 10 - first);
    text.push_str(prefix);
    text.push_str(member);
    digits[first..].iter().for_each(|&digit| text.push(char::from(digit)));
    text.into()
}

/// Pointers of the graphs.
fn prefixes(graphs: &[super::read::GraphDraft], nodes: &[NodeDraft]) -> Vec<String> {
    let mut prefixes: Vec<String> = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let prefix = graph.owner.map_or(String::new(), |owner| {
            let owner = &nodes[owner as usize];
            format!("{}/nodes/{}/config/body", prefixes[owner.graph as usize], owner.place)
        });
        prefixes.push(prefix);
    }
    prefixes
}

/// Types of nodes that do not run yet, with the pointer of the first of each.
fn unsupported(draft: &Draft<'_>) -> Box<[(NodeType, Box<str>)]> {
    let prefixes = prefixes(&draft.graphs, &draft.nodes);
    [].into_iter()
        .filter_map(|wanted| {
            let of_type = draft.nodes.iter().filter(|node| node.kind.node_type() == wanted);
            let node = of_type.min_by_key(|node| node.at)?;
            Some((wanted, format!("{}/nodes/{}", prefixes[node.graph as usize], node.place).into()))
        })
        .collect()
}

/// Sets the indexes of nodes in expressions and collects what they read of outputs.
struct Resolver<'r> {
    by_id: &'r HashMap<Box<str>, NodeIx>,
    kept: Vec<(NodeIx, Box<[Box<str>]>)>,
}

impl Resolver<'_> {
    fn reference(&mut self, reference: &mut Reference) {
        let (Root::Output(node) | Root::Status(node) | Root::Error(node)) = &mut reference.root else { return };
        // The references were checked, so the id is known.
        node.ix = self.by_id.get(&node.id).copied().unwrap_or_default();
        if let Root::Output(node) = &reference.root {
            self.kept.push((node.ix, reference.path.clone()));
        }
    }

    fn expression(&mut self, expression: &mut Expression) {
        expression.references_mut().iter_mut().for_each(|reference| self.reference(reference));
    }

    fn template(&mut self, template: &mut Template) {
        template.each_reference_mut(|reference| self.reference(reference));
    }

    fn kind(&mut self, kind: &mut Kind) {
        match kind {
            Kind::Function { input, config, .. } => {
                self.template(input);
                config.iter_mut().for_each(|config| self.template(config));
            }
            Kind::Http(http) => {
                self.template(&mut http.url);
                for part in [&mut http.query, &mut http.headers, &mut http.body] {
                    part.iter_mut().for_each(|part| self.template(part));
                }
            }
            Kind::Agent { config: template, .. }
            | Kind::Map { over: template, .. }
            | Kind::Composite { inputs: template, .. }
            | Kind::Timer(Timer::Duration(template) | Timer::Until(template)) => self.template(template),
            Kind::Signal { name, matches, send, .. } => {
                self.template(name);
                matches.iter_mut().for_each(|matches| self.expression(matches));
                if let Some(send) = send {
                    self.template(&mut send.run_id);
                    self.template(&mut send.payload);
                }
            }
            Kind::Loop { condition, .. } => self.expression(condition),
            Kind::Approval(approval) => self.template(&mut approval.prompt),
            Kind::Join => {}
        }
    }
}

/// Gives each node the paths that are read of it: sorted, none a prefix of another.
fn keep(nodes: &mut [Node], mut kept: Vec<(NodeIx, Box<[Box<str>]>)>) {
    kept.sort_unstable();
    kept.dedup();
    let mut rest = kept.into_iter().peekable();
    while let Some((ix, path)) = rest.next() {
        let mut paths = vec![path];
        while let Some((_, path)) = rest.next_if(|(next, _)| *next == ix) {
            // Sorted, so a prefix stands right before what goes on below it.
            if !paths.last().is_some_and(|last| path.starts_with(last)) {
                paths.push(path);
            }
        }
        let node = &mut nodes[ix as usize];
        if node.keeps != Keeps::All {
            node.keeps = if paths[0].is_empty() { Keeps::All } else { Keeps::Paths(paths.into()) };
        }
    }
}

/// Finds what only leads to a join: every edge out of such a node leads to the join or to another such node.
struct Cancelled {
    left: usize,
    /// Edges out of each node that were found to lead there.
    leading: Vec<u32>,
}

impl Cancelled {
    fn new(count: usize, nodes_max: usize) -> Self {
        Self { left: count.min(nodes_max) * CANCELLED_PER_NODE + 1_000, leading: vec![0; count] }
    }

    fn of(
        &mut self,
        join: NodeIx,
        edges: &[Edge],
        in_edges: &[u32],
        out: &[u32],
        into: &[u32],
    ) -> Option<Box<[NodeIx]>> {
        let (mut found, mut touched, mut queue) = (Vec::new(), Vec::new(), vec![join]);
        while let Some(node) = queue.pop() {
            for &edge in &in_edges[into[node as usize] as usize..into[node as usize + 1] as usize] {
                let from = edges[edge as usize].from;
                let leading = &mut self.leading[from as usize];
                *leading += 1;
                touched.push(from);
                if *leading == out[from as usize + 1] - out[from as usize] {
                    found.push(from);
                    queue.push(from);
                }
            }
        }
        touched.iter().for_each(|&node| self.leading[node as usize] = 0);
        self.left = self.left.checked_sub(touched.len())?;
        found.sort_unstable();
        Some(found.into())
    }
}
