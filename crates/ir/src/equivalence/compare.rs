//! Two meanings, graph by graph: what must be the same in both, and what may be less in the second.

use super::bits::Bits;
use super::conditions::{ALWAYS, Cond, Conditions, NEVER};
use super::meaning::{Meaning, Names, Term};
use crate::Diagnostic;
use crate::ir::{Effect, GraphIx, Kind, NodeIx};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Something that is done at one time: a call, or the evaluation of a guard; with the anchored nodes before it.
type Event = (Term, Bits);

/// A comparison of two definitions.
pub(super) struct Comparison<'c, 'i> {
    pub(super) names: &'c mut Names,
    pub(super) before: &'c Meaning<'i>,
    pub(super) after: &'c Meaning<'i>,
    pub(super) doubts: Vec<Diagnostic>,
}

impl Comparison<'_, '_> {
    fn doubt(&mut self, code: &'static str, pointer: &str, message: String) {
        self.doubts.push(Diagnostic { code, pointer: pointer.to_owned(), message, hint: None });
    }

    /// Compares two graphs and, where both have them, the bodies in them.
    pub(super) fn graphs(&mut self, old: GraphIx, new: GraphIx) {
        self.anchored(old, new);
        self.races(old, new);
        self.calls(old, new);
        self.guards(old, new);
        self.failures(old, new);
        if self.before.output[old as usize] != self.after.output[new as usize] {
            let owner = self.after.ir.graphs[new as usize].owner.map(|ix| &self.after.ir.nodes[ix as usize]);
            let place = owner.map_or("/output".to_owned(), |owner| {
                format!("{}/config/body/output", self.after.ir.pointer_of(owner))
            });
            self.doubt("OUTPUT_CHANGED", &place, "the output is not shown to be the same".to_owned());
        }
        for ix in self.after.nodes_of(new) {
            let Some(twin) = self.twin(ix, old) else { continue };
            let (old, new) = (&self.before.ir.nodes[twin as usize].kind, &self.after.ir.nodes[ix as usize].kind);
            if let (Some(old), Some(new)) = (body(old), body(new)) {
                self.graphs(old, new);
            }
        }
    }

    /// The node of the same name in the graph before, where it is ever started.
    fn twin(&self, ix: NodeIx, old: GraphIx) -> Option<NodeIx> {
        let twin = self.before.ir.node(&self.after.ir.nodes[ix as usize].id)?;
        (self.before.ir.nodes[twin as usize].graph == old && self.before.start[twin as usize] != NEVER).then_some(twin)
    }

    /// What changes the world keeps its condition, what it is given, and its place among its like; and what had to go
    /// well before it still has to, where it is done at all.
    fn anchored(&mut self, old: GraphIx, new: GraphIx) {
        let (before, after) = (self.before, self.after);
        let done = aliases(after, new, None, &mut self.names.conditions);
        for ix in before.nodes_of(old).filter(|&ix| before.anchored[ix as usize] && before.start[ix as usize] != NEVER)
        {
            let node = &before.ir.nodes[ix as usize];
            let twin = after.ir.node(&node.id).filter(|&twin| {
                let at = twin as usize;
                after.ir.nodes[at].graph == new && after.anchored[at] && after.start[at] != NEVER
            });
            let Some(twin) = twin else {
                self.doubt("CALL_DROPPED", "", format!("{} is not done any more", node.id));
                continue;
            };
            let (at, twin_at) = (ix as usize, twin as usize);
            let place = &*after.ir.pointer_of(&after.ir.nodes[twin_at]);
            if before.term[at] != after.term[twin_at] {
                self.doubt("CALL_CHANGED", place, format!("{} is not shown to be given the same", node.id));
            }
            if before.start[at] != after.start[twin_at] {
                self.doubt("CONDITION_CHANGED", place, format!("{} is not shown to start in the same cases", node.id));
            }
            if before.since[at] != after.since[twin_at] {
                self.doubt(
                    "ORDER_CHANGED",
                    place,
                    format!("other nodes that keep their order stand before {}", node.id),
                );
            }
            let conditions = &mut self.names.conditions;
            let waits = aliases(after, new, Some(twin), conditions);
            let lost = aliases(before, old, Some(ix), conditions).into_iter().any(|(alias, cases)| {
                let still = conditions.and(cases, done.get(&alias).copied().unwrap_or(NEVER));
                !conditions.implies(still, waits.get(&alias).copied().unwrap_or(NEVER))
            });
            if lost {
                let message = format!("{} does not wait any more for what it waited for", node.id);
                self.doubt("ORDER_CHANGED", place, message);
            }
        }
        for ix in after.nodes_of(new).filter(|&ix| after.anchored[ix as usize] && after.start[ix as usize] != NEVER) {
            let known = self.twin(ix, old).is_some_and(|twin| before.anchored[twin as usize]);
            if !known {
                let node = &after.ir.nodes[ix as usize];
                self.doubt("CALL_ADDED", &after.ir.pointer_of(node), format!("{} was not done before", node.id));
            }
        }
    }

    /// Where the order of events in time decides something, all that leads there is as it was.
    fn races(&mut self, old: GraphIx, new: GraphIx) {
        let edges = |meaning: &Meaning<'_>, ix: NodeIx| -> BTreeSet<String> {
            let one = |(edge_ix, edge): (u32, &crate::ir::Edge)| {
                let from = &meaning.ir.nodes[edge.from as usize].id;
                format!("{from} {} {:?}", edge.on_error, meaning.guard(edge_ix as usize))
            };
            meaning.ir.incoming(ix).map(one).collect()
        };
        let picture = |meaning: &Meaning<'_>, graph: GraphIx| -> BTreeMap<String, BTreeSet<String>> {
            let id = |ix: NodeIx| meaning.ir.nodes[ix as usize].id.to_string();
            let mut of = BTreeMap::new();
            for ix in meaning.nodes_of(graph).filter(|&ix| meaning.racy[ix as usize]) {
                for at in meaning.cone(ix) {
                    of.entry(id(at)).or_insert_with(|| edges(meaning, at));
                }
                let taken_back =
                    meaning.ir.nodes[ix as usize].cancel_rest.iter().map(|&ix| format!("takes back {}", id(ix)));
                of.entry(id(ix)).or_default().extend(taken_back);
            }
            of
        };
        let (was, is) = (picture(self.before, old), picture(self.after, new));
        if was != is {
            let other = was.keys().chain(is.keys()).find(|id| was.get(*id) != is.get(*id));
            let message = format!("{} leads to a race, and is not as it was", other.map_or("", |id| id));
            self.doubt("RACE_TOUCHED", "", message);
        }
    }

    /// The map or loop after the patch, where it keeps its name, and this node is decided before it.
    fn is_before_owner(&self, owner: NodeIx, new: GraphIx, node: NodeIx) -> bool {
        let twin = self.after.ir.node(&self.before.ir.nodes[owner as usize].id);
        twin.is_some_and(|twin| {
            let at = twin as usize;
            self.after.ir.nodes[at].graph == new
                && body(&self.after.ir.nodes[at].kind).is_some()
                && self.after.start[at] != NEVER
                && self.after.before[at].has(node as usize)
        })
    }

    /// What is called is called before in the same cases at least, after the same anchored nodes.
    fn calls(&mut self, old: GraphIx, new: GraphIx) {
        let (before, after) = (self.before, self.after);
        let mut known: HashMap<Event, Cond> = HashMap::new();
        for at in before.nodes_of(old).map(|ix| ix as usize).filter(|&at| is_call(before, at)) {
            let cases = known.entry((before.term[at], before.since[at].clone())).or_insert(NEVER);
            *cases = self.names.conditions.or(*cases, before.start[at]);
        }
        let first = first_calls(before, old);
        for ix in after.nodes_of(new).filter(|&ix| is_call(after, ix as usize)) {
            let (at, node) = (ix as usize, &after.ir.nodes[ix as usize]);
            let event = (after.term[at], after.since[at].clone());
            let mut cases = known.get(&event).copied().unwrap_or(NEVER);
            for owner in first.get(&event).into_iter().flatten().filter(|_| !after.survives[at]) {
                if self.is_before_owner(*owner, new, ix) {
                    cases = self.names.conditions.or(cases, before.entered[*owner as usize]);
                }
            }
            if !self.names.conditions.implies(after.start[at], cases) {
                let message = format!("{} is not shown to be done before in all these cases, in this order", node.id);
                self.doubt("CALL_ADDED", &after.ir.pointer_of(node), message);
            } else if body(&node.kind).is_some() && self.twin(ix, old).is_none() {
                self.doubt(
                    "CALL_ADDED",
                    &after.ir.pointer_of(node),
                    format!("{} holds a body and was not there before", node.id),
                );
            }
        }
    }

    /// A guard is evaluated where it was evaluated before: it may fail.
    fn guards(&mut self, old: GraphIx, new: GraphIx) {
        let (before, after) = (self.before, self.after);
        let mut known: HashMap<Event, Cond> = HashMap::new();
        for (_, event, cases) in asked(before, old) {
            let have = known.entry(event).or_insert(NEVER);
            *have = self.names.conditions.or(*have, cases);
        }
        let mut entries: HashMap<Event, Vec<NodeIx>> = HashMap::new();
        for ix in before.nodes_of(old).filter(|&ix| before.start[ix as usize] != NEVER) {
            if let Some((term, _)) = before.entry[ix as usize] {
                entries.entry((term, before.since[ix as usize].clone())).or_default().push(ix);
            }
        }
        for (edge, event, cases) in asked(after, new) {
            let mut have = known.get(&event).copied().unwrap_or(NEVER);
            // A map looks at its list, and a loop at its condition, and fails the run where the guard does.
            for &owner in entries.get(&event).into_iter().flatten() {
                if self.is_before_owner(owner, new, after.ir.edges[edge].from) {
                    have = self.names.conditions.or(have, before.start[owner as usize]);
                }
            }
            if !self.names.conditions.implies(cases, have) {
                let place = format!("{}/when", after.ir.pointer_of_edge(&after.ir.edges[edge]));
                let message =
                    "the guard is not shown to be evaluated before in all these cases, in this order".to_owned();
                self.doubt("GUARD_ADDED", &place, message);
            }
        }
    }

    /// What failed the run still does, and nothing else does. Equal calls fail alike: where one of them ends the run and
    /// another one does not, what is asked after a failure depends on which comes first. That holds also where one of
    /// them keeps its place, for the other one may leave it.
    fn failures(&mut self, old: GraphIx, new: GraphIx) {
        let mut survives: BTreeMap<Term, bool> = BTreeMap::new();
        let calls = |meaning: &'_ Meaning<'_>, graph: GraphIx| -> Vec<(Term, bool)> {
            let all = meaning.nodes_of(graph).map(|ix| ix as usize).filter(|&at| meaning.start[at] != NEVER);
            all.filter_map(|at| Some((meaning.likeness[at]?, meaning.survives[at]))).collect()
        };
        let all = [calls(self.before, old), calls(self.after, new)].concat();
        if all.into_iter().any(|(term, one)| *survives.entry(term).or_insert(one) != one) {
            let message = "of two equal calls only one ends the run where it fails".to_owned();
            self.doubt("FAILURE_CHANGED", "", message);
        }
        // An equal call stands in for another one, not for what is done where that fails.
        for ix in self.after.nodes_of(new).filter(|&ix| is_call(self.after, ix as usize)) {
            let node = &self.after.ir.nodes[ix as usize];
            let same = self.before.ir.node(&node.id);
            if same.is_some_and(|was| self.before.survives[was as usize] != self.after.survives[ix as usize]) {
                self.doubt(
                    "FAILURE_CHANGED",
                    &self.after.ir.pointer_of(node),
                    format!("a failure of {} is not taken as it was", node.id),
                );
            }
        }
        let mut cases = |meaning: &Meaning<'_>, graph: GraphIx, of: &dyn Fn(usize) -> Cond| {
            let mut found: BTreeMap<Term, Cond> = BTreeMap::new();
            for at in meaning.nodes_of(graph).map(|ix| ix as usize).filter(|&at| meaning.start[at] != NEVER) {
                let have = found.entry(meaning.term[at]).or_insert(NEVER);
                *have = self.names.conditions.or(*have, of(at));
            }
            found
        };
        let (before, after) = (self.before, self.after);
        let was = cases(before, old, &|at| before.fatal[at]);
        let was_done = cases(before, old, &|at| before.start[at]);
        let is = cases(after, new, &|at| after.fatal[at]);
        let done = cases(after, new, &|at| after.start[at]);
        for (term, &fatal) in &is {
            let fatal_before = was.get(term).copied().unwrap_or(NEVER);
            let still = self.names.conditions.and(fatal_before, done.get(term).copied().unwrap_or(NEVER));
            // A call in other cases is another matter.
            let fatal_now = self.names.conditions.and(fatal, was_done.get(term).copied().unwrap_or(NEVER));
            if !self.names.conditions.implies(fatal_now, fatal_before) || !self.names.conditions.implies(still, fatal) {
                let node = after.nodes_of(new).find(|&ix| after.term[ix as usize] == *term);
                let node = node.map(|ix| &after.ir.nodes[ix as usize]);
                let (id, place) = node.map_or(("", String::new()), |node| (&*node.id, after.ir.pointer_of(node)));
                self.doubt("FAILURE_CHANGED", &place, format!("a failure of {id} is not taken as it was"));
            }
        }
    }
}

/// The graph in a node.
fn body(kind: &Kind) -> Option<GraphIx> {
    match kind {
        Kind::Map { body, .. } | Kind::Loop { body, .. } => Some(*body),
        _ => None,
    }
}

/// Whether something is done there that is not anchored.
fn is_call(meaning: &Meaning<'_>, at: usize) -> bool {
    !meaning.anchored[at] && !matches!(meaning.ir.nodes[at].kind, Kind::Join) && meaning.start[at] != NEVER
}

/// Calls in the bodies of a graph that could as well be done before: whenever there is a first time, they are done, in
/// it first or beside it, and end the run where they fail. By what they are, and after which anchored nodes, the maps
/// and loops that they stand in. What reads an item or an iteration is equal to nothing outside.
fn first_calls(meaning: &Meaning<'_>, graph: GraphIx) -> HashMap<Event, Vec<NodeIx>> {
    let mut found: HashMap<Event, Vec<NodeIx>> = HashMap::new();
    for owner in meaning.nodes_of(graph).filter(|&ix| meaning.start[ix as usize] != NEVER) {
        let node = &meaning.ir.nodes[owner as usize];
        let skips = matches!(node.kind, Kind::Map { skip_item_errors: true, .. });
        let ends = !skips && !meaning.survives[owner as usize] && node.correction.is_none();
        let Some(body) = body(&node.kind).filter(|_| ends) else { continue };
        for at in meaning.nodes_of(body).map(|ix| ix as usize) {
            let inner = &meaning.ir.nodes[at];
            let is_pure = inner.effect == Effect::Pure && matches!(inner.kind, Kind::Function { .. } | Kind::Http(_));
            let is_first = meaning.start[at] == ALWAYS && meaning.since[at] == Bits::default();
            if is_call(meaning, at) && is_pure && is_first && !meaning.survives[at] {
                let event = (meaning.term[at], meaning.since[owner as usize].clone());
                found.entry(event).or_default().push(owner);
            }
        }
    }
    found
}

/// The guards that are evaluated in a graph: edge, what and when, and in which cases.
fn asked<'m>(meaning: &'m Meaning<'_>, graph: GraphIx) -> impl Iterator<Item = (usize, Event, Cond)> + 'm {
    meaning.nodes_of(graph).flat_map(move |ix| {
        meaning.ir.nodes[ix as usize].out.clone().filter_map(move |edge| {
            let (cases, (term, _)) = meaning.asked(edge as usize)?;
            Some((edge as usize, (term, meaning.since_end(ix)), cases))
        })
    })
}

/// The calls of a graph that are not anchored, its guards, and what its maps and loops ask, by their aliases, and in
/// which cases they are done: all, or those that are done before a node in every run.
fn aliases(
    meaning: &Meaning<'_>,
    graph: GraphIx,
    before: Option<NodeIx>,
    conditions: &mut Conditions,
) -> BTreeMap<Term, Cond> {
    let mut found = BTreeMap::new();
    let mut add = |alias: Term, cases: Cond| {
        let have = found.entry(alias).or_insert(NEVER);
        *have = conditions.or(*have, cases);
    };
    for ix in meaning.nodes_of(graph) {
        if before.is_some_and(|node| !meaning.before[node as usize].has(ix as usize)) {
            continue;
        }
        if let Some((_, alias)) = meaning.entry[ix as usize].filter(|_| meaning.start[ix as usize] != NEVER) {
            add(alias, meaning.start[ix as usize]);
        }
        if is_call(meaning, ix as usize) {
            add(meaning.alias[ix as usize], meaning.start[ix as usize]);
        }
        for edge in meaning.ir.nodes[ix as usize].out.clone() {
            if let Some((cases, (_, alias))) = meaning.asked(edge as usize) {
                add(alias, cases);
            }
        }
    }
    found
}
