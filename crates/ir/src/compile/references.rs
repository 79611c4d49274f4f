//! What expressions read: that it exists, that it is upstream of where it is read, and that `item` and its like
//! stand in a body that has them.

use super::order::{Ids, Order};
use super::reach::{Question, unreached};
use super::read::Draft;
use crate::document::{Reader, clip};
use crate::expressions::{Expression, Reference, Root, Template};
use crate::ir::{Fallback, GraphIx, Kind, Timer};
use crate::schema::closed_properties;
use crate::value::scan::{At, Kind as Json};

/// Faults for which the very string is looked for; later ones name their field.
const EXACT_MAX: usize = 100;

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
enum Stand {
    /// In a node: what is before it can be read.
    Before(u32),
    /// On an edge or in a compensation: the node itself can be read, too.
    At(u32),
    /// In the output of a graph: all its nodes can be read.
    Output(GraphIx),
}

struct Checker<'c, 'r, 'a, 'l> {
    reader: &'r mut Reader<'a, 'l>,
    draft: &'c Draft<'a>,
    ids: &'c Ids,
    order: &'c Order,
    /// Per graph: stands in a map, in a loop.
    in_map: Vec<bool>,
    in_loop: Vec<bool>,
    closed: Option<Vec<String>>,
    /// In the `match` of a signal.
    signal: bool,
    questions: Vec<Question>,
    /// Where each question was asked.
    asked: Vec<At>,
    exact: usize,
}

/// Checks all expressions of a definition.
pub(crate) fn check<'a>(reader: &mut Reader<'a, '_>, draft: &Draft<'a>, ids: &Ids, order: &Order) {
    let (mut in_map, mut in_loop) = (Vec::new(), Vec::new());
    for graph in &draft.graphs {
        let owner = graph.owner.map(|owner| &draft.nodes[owner as usize]);
        let outer = |flags: &Vec<bool>| owner.is_some_and(|owner| flags[owner.graph as usize]);
        in_map.push(outer(&in_map) || owner.is_some_and(|owner| matches!(owner.step.kind, Kind::Map { .. })));
        in_loop.push(outer(&in_loop) || owner.is_some_and(|owner| !matches!(owner.step.kind, Kind::Map { .. })));
    }
    let closed = draft.inputs.and_then(|at| closed_properties(&reader.document, at));
    let mut checker = Checker {
        reader,
        draft,
        ids,
        order,
        in_map,
        in_loop,
        closed,
        signal: false,
        questions: Vec::new(),
        asked: Vec::new(),
        exact: 0,
    };
    checker.all();
    checker.answer();
}

impl Checker<'_, '_, '_, '_> {
    fn all(&mut self) {
        let draft = self.draft;
        for (ix, node) in draft.nodes.iter().enumerate() {
            let stand = Stand::Before(ix as u32);
            let at = node.at;
            let step = &*node.step;
            match &step.kind {
                Kind::Function { input, config, .. } => {
                    self.template(input, at, stand);
                    self.optional(config.as_ref(), at, stand);
                }
                Kind::Http(http) => {
                    self.template(&http.url, at, stand);
                    for part in [&http.query, &http.headers, &http.body] {
                        self.optional(part.as_ref(), at, stand);
                    }
                }
                Kind::Agent { config, .. } => self.template(config, at, stand),
                Kind::Map { over, .. } => self.template(over, at, stand),
                Kind::Composite { inputs, .. } => self.template(inputs, at, stand),
                Kind::Loop { condition, body, .. } => self.expression(condition, at, stand, Some(*body)),
                Kind::Timer(Timer::Duration(template) | Timer::Until(template)) => self.template(template, at, stand),
                Kind::Signal { name, matches, send, .. } => {
                    self.template(name, at, stand);
                    if let Some(matches) = matches {
                        self.signal = true;
                        self.expression(matches, at, stand, None);
                        self.signal = false;
                    }
                    if let Some(send) = send {
                        self.template(&send.run_id, at, stand);
                        self.template(&send.payload, at, stand);
                    }
                }
                Kind::Approval(approval) => self.template(&approval.prompt, at, stand),
                Kind::Join => {}
            }
            if let Some(key) = &step.concurrency_key {
                self.template(key, node.concurrency_key_at, stand);
            }
            if let Some(Fallback::Value(value)) = step.breaker.as_ref().and_then(|breaker| breaker.fallback.as_ref()) {
                self.template(value, node.breaker_at, stand);
            }
            if let (Some(compensation), false) = (&step.compensation, step.id.is_empty()) {
                self.template(&compensation.input, node.compensation_at, Stand::At(ix as u32));
            }
        }
        for edge in &draft.edges {
            if let (Some((at, guard)), Some((from, _))) = (&edge.when, edge.ends) {
                self.expression(guard, *at, Stand::At(from), None);
            }
        }
        for (graph, draft) in draft.graphs.iter().enumerate() {
            if let Some((at, output)) = &draft.output {
                self.template(output, *at, Stand::Output(graph as GraphIx));
            }
        }
    }

    fn optional(&mut self, template: Option<&Template>, at: At, stand: Stand) {
        if let Some(template) = template {
            self.template(template, at, stand);
        }
    }

    fn template(&mut self, template: &Template, at: At, stand: Stand) {
        for expression in template.expressions() {
            self.expression(expression, at, stand, None);
        }
    }

    /// `body`: the loop's body, where the expression is the loop's condition.
    fn expression(&mut self, expression: &Expression, at: At, stand: Stand, body: Option<GraphIx>) {
        let graph = body.unwrap_or(match stand {
            Stand::Before(ix) | Stand::At(ix) => self.draft.nodes[ix as usize].graph,
            Stand::Output(graph) => graph,
        }) as usize;
        for reference in expression.references() {
            let fault = match &reference.root {
                Root::Item | Root::Index if !self.in_map[graph] => {
                    Some(("`item` and `index` are known only in the body of a map".to_owned(), None))
                }
                Root::Iteration | Root::Last if !self.in_loop[graph] => {
                    Some(("`iteration` and `last` are known only in a loop".to_owned(), None))
                }
                Root::Signal if !self.signal => {
                    Some(("`signal.payload` is known only in the `match` of a signal node".to_owned(), None))
                }
                Root::Inputs => self.unknown_input(reference),
                root => match root.node() {
                    Some(node) => match self.ids.get(&*node.id) {
                        Some(&from) => {
                            self.read(expression, reference, from, at, stand);
                            None
                        }
                        None => {
                            let near = self.reader.near(&node.id, self.draft.nodes.iter().map(|node| &*node.step.id));
                            Some((format!("there is no node {:?}", clip(&node.id)), near))
                        }
                    },
                    None => None,
                },
            };
            if let Some((message, hint)) = fault {
                let place = self.place(at, expression.text());
                let message = format!("{message} (byte {} of the expression)", reference.offset);
                self.reader.note_hint(place, "UNKNOWN_REFERENCE", message, hint);
            }
        }
    }

    fn unknown_input(&mut self, reference: &Reference) -> Option<(String, Option<String>)> {
        let name = reference.path.first()?;
        let closed = self.closed.as_ref()?;
        if closed.iter().any(|known| **known == **name) {
            return None;
        }
        let near = self.reader.near(name, closed.iter().map(String::as_str));
        Some((format!("the inputs have no property {:?}", clip(name)), near))
    }

    /// Checks that the node `from` can be read at `stand`.
    fn read(&mut self, expression: &Expression, reference: &Reference, from: u32, at: At, stand: Stand) {
        let target = self.draft.nodes[from as usize].graph;
        // From the expression outwards, to the graph that the node stands in.
        let mut stand = stand;
        loop {
            let graph = match stand {
                Stand::Before(ix) | Stand::At(ix) => self.draft.nodes[ix as usize].graph,
                Stand::Output(graph) => graph,
            };
            if graph == target {
                break;
            }
            match self.draft.graphs[graph as usize].owner {
                Some(owner) => stand = Stand::Before(owner),
                None => {
                    let place = self.place(at, expression.text());
                    let owner = self.draft.graphs[target as usize].owner;
                    let owner = owner.map_or("", |owner| &*self.draft.nodes[owner as usize].step.id);
                    let message = format!("the node {:?} stands inside {owner:?}", reference_id(reference));
                    let hint = format!("read `nodes.{owner}.output`: what is in a body is not seen outside it");
                    self.reader.note_hint(place, "NOT_UPSTREAM", message, Some(hint));
                    return;
                }
            }
        }
        if self.order.cyclic[target as usize] {
            return;
        }
        let to = match stand {
            Stand::Output(_) => return,
            Stand::At(ix) if ix == from => return,
            Stand::Before(ix) | Stand::At(ix) => ix,
        };
        self.questions.push(Question { from, to, tag: self.asked.len() as u32 });
        self.asked.push(at);
    }

    fn answer(&mut self) {
        let mut no = unreached(self.draft, self.order, &self.questions);
        no.sort_unstable();
        for tag in no {
            let at = self.asked[tag as usize];
            let question = self.questions[tag as usize];
            let from = &self.draft.nodes[question.from as usize].step.id;
            let to = &self.draft.nodes[question.to as usize].step.id;
            let place = match self.place(at, &format!("nodes.{from}")) {
                place if place != at => place,
                _ => self.place(at, &format!("nodes[\"{from}\"]")),
            };
            let (message, hint) = if question.from == question.to {
                (format!("the node {from:?} cannot read itself"), None)
            } else {
                let hint = format!("add an edge on a path from {from:?} to {to:?}");
                (format!("the node {from:?} is not upstream of {to:?}"), Some(hint))
            };
            self.reader.note_hint(place, "NOT_UPSTREAM", message, hint);
        }
    }

    /// The slot of the string that holds a text, within a slot; the slot itself where it is not found.
    fn place(&mut self, at: At, text: &str) -> At {
        self.exact += 1;
        let document = &self.reader.document;
        if self.exact > EXACT_MAX || document.kind(at) == Json::String {
            return at;
        }
        let inside = at + 1..document.slot(at).next;
        let found = inside
            .into_iter()
            .find(|&slot| document.kind(slot) == Json::String && document.string(slot).contains(text));
        found.unwrap_or(at)
    }
}

fn reference_id(reference: &Reference) -> &str {
    reference.root.node().map_or("", |node| &node.id)
}
