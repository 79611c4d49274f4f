//! What the compiler knows of a definition, as JSON, for those who look at definitions from outside (the optimizer's
//! passes): every node with its type and effect, and what every expression reads. Format: `docs/formats/optimizer.md`.

use crate::expressions::{Expression, Reference, Template};
use crate::ir::{Effect, Graph, Node, NodeIx};
use crate::value::canonical::write_string;
use crate::{Ir, ir::Edge};

/// The facts of a definition. Places are JSON Pointers into [`Ir::canonical`].
#[must_use]
pub fn facts(ir: &Ir) -> Vec<u8> {
    let mut out = b"{\"nodes\":".to_vec();
    list(&mut out, ir.nodes.iter(), |out, node| write_node(out, ir, node));
    out.extend_from_slice(b",\"edges\":");
    list(&mut out, ir.edges.iter(), |out, edge| write_edge(out, ir, edge));
    out.extend_from_slice(b",\"outputs\":");
    list(&mut out, ir.graphs.iter(), |out, graph| write_output(out, ir, graph));
    out.push(b'}');
    out
}

fn write_node(out: &mut Vec<u8>, ir: &Ir, node: &Node) {
    member(out, b"{\"id\":", &node.id);
    member(out, b",\"at\":", &ir.pointer_of(node));
    out.extend_from_slice(b",\"in\":");
    owner(out, ir, ir.graphs[node.graph as usize].owner);
    member(out, b",\"type\":", node.kind.node_type().name());
    let effect = match node.effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Write => "write",
    };
    member(out, b",\"effect\":", effect);
    let mut expressions = Vec::new();
    node.each_expression(&mut |expression| expressions.push(expression));
    out.extend_from_slice(b",\"reads\":");
    reads(out, &expressions);
    out.push(b'}');
}

fn write_edge(out: &mut Vec<u8>, ir: &Ir, edge: &Edge) {
    member(out, b"{\"from\":", &ir.nodes[edge.from as usize].id);
    member(out, b",\"to\":", &ir.nodes[edge.to as usize].id);
    member(out, b",\"at\":", &ir.pointer_of_edge(edge));
    out.extend_from_slice(if edge.on_error { b",\"on_error\":true" } else { b",\"on_error\":false" });
    out.extend_from_slice(b",\"reads\":");
    reads(out, &edge.when.as_deref().into_iter().collect::<Vec<_>>());
    out.push(b'}');
}

fn write_output(out: &mut Vec<u8>, ir: &Ir, graph: &Graph) {
    out.extend_from_slice(b"{\"of\":");
    owner(out, ir, graph.owner);
    out.extend_from_slice(b",\"stated\":");
    out.extend_from_slice(if graph.output.is_some() { b"true" } else { b"false" });
    let expressions: Vec<_> = graph.output.as_deref().into_iter().flat_map(Template::expressions).collect();
    out.extend_from_slice(b",\"reads\":");
    reads(out, &expressions);
    out.push(b'}');
}

fn reads(out: &mut Vec<u8>, expressions: &[&Expression]) {
    let mut found: Vec<&Reference> = Vec::new();
    for reference in expressions.iter().flat_map(|expression| expression.references()) {
        if !found.iter().any(|known| known.root == reference.root && known.path == reference.path) {
            found.push(reference);
        }
    }
    list(out, found.into_iter(), |out, reference| {
        member(out, b"{\"what\":", reference.root.word());
        if let Some(node) = reference.root.node() {
            member(out, b",\"node\":", &node.id);
        }
        out.extend_from_slice(b",\"path\":");
        list(out, reference.path.iter(), |out, name| write_string(name, out));
        out.push(b'}');
    });
}

fn owner(out: &mut Vec<u8>, ir: &Ir, owner: Option<NodeIx>) {
    match owner {
        Some(owner) => write_string(&ir.nodes[owner as usize].id, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn member(out: &mut Vec<u8>, name: &[u8], text: &str) {
    out.extend_from_slice(name);
    write_string(text, out);
}

fn list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut one: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.push(b']');
}
