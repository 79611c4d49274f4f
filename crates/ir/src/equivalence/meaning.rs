//! What a definition means, as far as it is compared: of each node a term (what it gives, as a function of the inputs),
//! the condition under which it starts, and what is decided before it in every run.

use super::bits::Bits;
use super::conditions::{ALWAYS, Cond, Conditions, NEVER};
use super::entry::{Entry, entry};
use crate::Ir;
use crate::expressions::{Expression, NodeRef, Reference, Root, Template};
use crate::ir::{Edge, Effect, Fallback, GraphIx, Join, Kind, Node, NodeIx, OnError, Step, Timer};
use std::collections::HashMap;

/// What a node gives, or a guard asks: equal numbers, equal meaning.
pub(super) type Term = u32;

/// What a guard asks: its term and its alias.
pub(super) type Asked = (Term, Term);

/// Texts and their numbers, shared by both sides of a comparison.
pub(super) struct Names {
    pub(super) conditions: Conditions,
    terms: HashMap<String, Term>,
    /// Anchored nodes by id.
    anchored: HashMap<Box<str>, usize>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { conditions: Conditions::new(), terms: HashMap::new(), anchored: HashMap::new() }
    }

    fn term(&mut self, text: String) -> Term {
        let next = self.terms.len() as Term;
        *self.terms.entry(text).or_insert(next)
    }
}

/// A definition and what is known of its nodes and edges, by their indexes.
pub(super) struct Meaning<'i> {
    pub(super) ir: &'i Ir,
    /// Keeps its place: it changes the world, waits for it, or takes part in a race.
    pub(super) anchored: Vec<bool>,
    /// Which of two happens first decides something here.
    pub(super) racy: Vec<bool>,
    /// Of each edge: what its guard says may depend on when it is asked.
    racy_guard: Vec<bool>,
    /// The nodes of its graph that are decided before it starts, in every run.
    pub(super) before: Vec<Bits>,
    pub(super) start: Vec<Cond>,
    pub(super) ok: Vec<Cond>,
    failed: Vec<Cond>,
    /// It failed, and with it the run or the item.
    pub(super) fatal: Vec<Cond>,
    /// Something may go on where it fails.
    pub(super) survives: Vec<bool>,
    /// Of a map or loop: its body is done at least once. Of others nothing.
    pub(super) entered: Vec<Cond>,
    /// Of a map or loop: what it asks before its body begins, where a guard could ask it.
    pub(super) entry: Vec<Option<Asked>>,
    pub(super) term: Vec<Term>,
    /// As the term, in whatever case there is something to read: two with one alias fail alike.
    pub(super) alias: Vec<Term>,
    /// Of a call without effect: the alias that it has, or would have if it were not anchored.
    pub(super) likeness: Vec<Option<Term>>,
    /// The anchored nodes before it, as a set of numbers that both sides share.
    pub(super) since: Vec<Bits>,
    /// The number of an anchored node in such sets.
    number: Vec<Option<usize>>,
    /// Of each edge: whether its guard lets it live, and what is asked.
    guard: Vec<(Cond, Option<Asked>)>,
    /// Of each graph.
    pub(super) output: Vec<Term>,
}

impl<'i> Meaning<'i> {
    pub(super) fn of(ir: &'i Ir, names: &mut Names) -> Self {
        let count = ir.nodes.len();
        let mut meaning = Self {
            ir,
            anchored: vec![false; count],
            racy: vec![false; count],
            racy_guard: vec![false; ir.edges.len()],
            before: vec![Bits::default(); count],
            start: vec![NEVER; count],
            ok: vec![NEVER; count],
            failed: vec![NEVER; count],
            fatal: vec![NEVER; count],
            survives: vec![false; count],
            entered: vec![NEVER; count],
            entry: vec![None; count],
            term: vec![0; count],
            alias: vec![0; count],
            likeness: vec![None; count],
            since: vec![Bits::default(); count],
            number: vec![None; count],
            guard: vec![(ALWAYS, None); ir.edges.len()],
            output: vec![0; ir.graphs.len()],
        };
        meaning.find_orders();
        meaning.find_races();
        meaning.find_anchored();
        meaning.graph(0, names);
        meaning
    }

    pub(super) fn nodes_of(&self, graph: GraphIx) -> impl Iterator<Item = NodeIx> + use<> {
        self.ir.graphs[graph as usize].nodes.clone()
    }

    fn node(&self, ix: NodeIx) -> &'i Node {
        &self.ir.nodes[ix as usize]
    }

    /// Nodes stand in topological order, so what is before a node is known before it.
    fn find_orders(&mut self) {
        for ix in 0..self.ir.nodes.len() as NodeIx {
            let mut found: Option<Bits> = None;
            for (_, edge) in self.ir.incoming(ix) {
                let mut source = self.before[edge.from as usize].clone();
                source.add(edge.from as usize);
                match &mut found {
                    None => found = Some(source),
                    Some(all) if self.node(ix).join == Join::All => all.add_all(&source),
                    // It starts without waiting for all: only what is before each of them is before it.
                    Some(common) => common.keep_only(&source),
                }
            }
            self.before[ix as usize] = found.unwrap_or_default();
        }
    }

    fn find_races(&mut self) {
        for ix in 0..self.ir.nodes.len() as NodeIx {
            let node = self.node(ix);
            self.racy[ix as usize] |= node.join != Join::All || !node.cancel_rest.is_empty();
            let mut read = Vec::new();
            let mut collect = |reference: &Reference| {
                read.extend(reference.root.node().map(|node| self.ix(node)));
                String::new()
            };
            let _ = own_key(node, 0, &mut collect);
            read.retain(|&other| other != ix);
            self.racy[ix as usize] |= self.note_races(ix, &read);
            for (edge_ix, edge) in self.ir.incoming(ix) {
                let mut read = Vec::new();
                let mut collect = |reference: &Reference| {
                    read.extend(reference.root.node().map(|node| self.ix(node)));
                    String::new()
                };
                let _ = edge.when.as_ref().map(|guard| guard.key(&mut collect));
                read.retain(|&other| other != edge.from);
                let raced = read.iter().any(|&other| {
                    self.node(other).graph == node.graph && !self.before[edge.from as usize].has(other as usize)
                });
                read.retain(|&other| self.node(other).graph != node.graph);
                let raced = self.note_races(ix, &read) || raced;
                self.racy[ix as usize] |= raced;
                self.racy_guard[edge_ix as usize] = raced;
            }
        }
        // The output of a body is read when its map or loop goes on; all its nodes are decided then.
        for graph in &self.ir.graphs {
            let (Some(owner), Some(output)) = (graph.owner, &graph.output) else { continue };
            let mut read = Vec::new();
            let _ = output.key(&mut |reference| {
                read.extend(reference.root.node().map(|node| self.ix(node)));
                String::new()
            });
            read.retain(|&other| !graph.nodes.contains(&other));
            self.racy[owner as usize] |= self.note_races(owner, &read);
        }
    }

    /// The node that an expression names: it compiled, so there is one.
    fn ix(&self, node: &NodeRef) -> NodeIx {
        self.ir.node(&node.id).unwrap_or_default()
    }

    /// Whether one of the nodes read may not be decided yet. What reads it takes part in a race then, and so do the maps
    /// and loops around, up to the graph in which that node stands.
    fn note_races(&mut self, ix: NodeIx, read: &[NodeIx]) -> bool {
        let mut raced = false;
        for &other in read {
            let graph = self.node(other).graph;
            let reader = self.owner_at(ix, graph);
            if reader == other || self.before[reader as usize].has(other as usize) {
                continue;
            }
            raced = true;
            let mut at = ix;
            while self.node(at).graph != graph {
                let Some(owner) = self.ir.graphs[self.node(at).graph as usize].owner else { break };
                at = owner;
                self.racy[at as usize] = true;
            }
        }
        raced
    }

    /// The node itself, or the map or loop that it stands in, in the graph that is asked for.
    fn owner_at(&self, ix: NodeIx, graph: GraphIx) -> NodeIx {
        let mut at = ix;
        while self.node(at).graph != graph {
            match self.ir.graphs[self.node(at).graph as usize].owner {
                Some(owner) => at = owner,
                None => return at,
            }
        }
        at
    }

    /// All nodes from which a path leads to one, itself included.
    pub(super) fn cone(&self, ix: NodeIx) -> Vec<NodeIx> {
        let mut seen = Bits::default();
        let mut open = vec![ix];
        seen.add(ix as usize);
        let mut next = 0;
        while let Some(&at) = open.get(next) {
            next += 1;
            for (_, edge) in self.ir.incoming(at) {
                if !seen.has(edge.from as usize) {
                    seen.add(edge.from as usize);
                    open.push(edge.from);
                }
            }
        }
        open
    }

    fn find_anchored(&mut self) {
        for ix in 0..self.ir.nodes.len() as NodeIx {
            if self.racy[ix as usize] {
                self.cone(ix).into_iter().for_each(|at| self.anchored[at as usize] = true);
            }
            self.anchored[ix as usize] |= is_anchored(self.node(ix));
        }
        // Bodies stand behind the graph of their owner.
        for graph in self.ir.graphs.iter().rev() {
            if let Some(owner) = graph.owner
                && graph.nodes.clone().any(|ix| self.anchored[ix as usize])
            {
                self.anchored[owner as usize] = true;
            }
        }
    }

    /// Bodies are nested as deep as `Limits` allow, so the recursion is.
    fn graph(&mut self, graph: GraphIx, names: &mut Names) {
        for ix in self.nodes_of(graph) {
            let at = ix as usize;
            let node = self.node(ix);
            let lives: Vec<Cond> =
                self.ir.incoming(ix).map(|(edge_ix, edge)| self.live(edge_ix as usize, edge, names)).collect();
            self.start[at] = match (lives.as_slice(), node.join) {
                ([], _) => ALWAYS,
                (_, Join::Quorum { .. }) => names.conditions.atom(format!("quorum of {}", node.id)),
                (lives, _) => lives.iter().fold(NEVER, |any, &live| names.conditions.or(any, live)),
            };
            if self.anchored[at] && self.start[at] != NEVER {
                let next = names.anchored.len();
                self.number[at] = Some(*names.anchored.entry((*node.id).into()).or_insert(next));
            }
            for number in self.before[at].numbers().filter_map(|before| self.number[before]) {
                self.since[at].add(number);
            }
            let body = match node.kind {
                Kind::Map { body, .. } | Kind::Loop { body, .. } => {
                    self.enter(ix, names);
                    self.graph(body, names);
                    self.output[body as usize]
                }
                _ => 0,
            };
            let context = self.start[at];
            let since = self.moment(ix);
            let mut lives = lives;
            lives.sort_unstable();
            for is_alias in [false, true] {
                let own = own_key(node, body, &mut |reference| match reference.root.node() {
                    // What undoes a node reads what it gave.
                    Some(own) if self.ix(own) == ix => format!("own {} {:?}", reference.root.word(), reference.path),
                    _ => self.named(reference, ix, graph, (context, is_alias), names),
                });
                let plain = match node.effect {
                    Effect::Read => format!("read {own} {since}"),
                    _ => format!("pure {own}"),
                };
                let is_plain = matches!(node.kind, Kind::Function { .. } | Kind::Http(_));
                if is_alias && is_plain && node.effect != Effect::Write {
                    self.likeness[at] = Some(names.term(plain.clone()));
                }
                let text = match (&node.kind, node.effect) {
                    // It gives how many of its edges are live.
                    (Kind::Join, _) if self.anchored[at] => format!("anchored {} {own} {lives:?}", node.id),
                    _ if self.anchored[at] => format!("anchored {} {own}", node.id),
                    (Kind::Join, _) => format!("join {lives:?}"),
                    // The same question to a model is another answer each time.
                    (Kind::Agent { .. }, _) => format!("asked {} {own} {since}", node.id),
                    // Two bodies that give the same may fail by other calls.
                    (Kind::Map { .. } | Kind::Loop { .. }, _) => format!("body {} {own} {since}", node.id),
                    _ => plain,
                };
                let named = if is_alias { &mut self.alias[at] } else { &mut self.term[at] };
                *named = names.term(text);
            }
            self.outcome(ix, names);
        }
        let output = &self.ir.graphs[graph as usize];
        let text = match &output.output {
            Some(template) => {
                let owner = output.owner.unwrap_or_default();
                template.key(&mut |reference| self.named(reference, owner, graph, (ALWAYS, false), names))
            }
            None => {
                let mut leaves: Vec<String> = output
                    .leaves
                    .iter()
                    .filter(|&&leaf| self.ok[leaf as usize] != NEVER)
                    .map(|&leaf| {
                        let at = leaf as usize;
                        format!("{} t{} c{}", self.ir.nodes[at].id, self.term[at], self.ok[at])
                    })
                    .collect();
                leaves.sort_unstable();
                format!("leaves {leaves:?}")
            }
        };
        self.output[graph as usize] = names.term(format!("output {text}"));
    }

    /// The anchored nodes before a node, as what it reads may depend on them. A body in which nothing is anchored is done
    /// between those of its owner; in another one, each item and iteration may see what the one before it wrote.
    fn moment(&self, ix: NodeIx) -> String {
        let since = &self.since[ix as usize];
        match self.ir.graphs[self.node(ix).graph as usize].owner {
            None => format!("{since:?}"),
            Some(owner) if self.anchored[owner as usize] => format!("{since:?} in {}", self.node(owner).id),
            Some(owner) => self.moment(owner),
        }
    }

    /// When the body of a map or loop is done at least once, as a guard before it would ask.
    fn enter(&mut self, ix: NodeIx, names: &mut Names) {
        let (at, node) = (ix as usize, self.node(ix));
        let start = self.start[at];
        let key = |expression: &Expression, is_alias: bool, names: &mut Names| {
            expression.key(&mut |reference| self.named(reference, ix, node.graph, (start, is_alias), names))
        };
        let (has_one, asked) = match entry(self.ir, &node.kind) {
            Entry::Always => (ALWAYS, None),
            Entry::Never => (NEVER, None),
            Entry::Asks(guard) => {
                let keys = [false, true].map(|is_alias| key(&guard, is_alias, names));
                let [term, alias] = keys.map(|key| names.term(format!("guard {key}")));
                (names.conditions.atom(format!("t{term}")), Some((term, alias)))
            }
            Entry::Unknown => {
                let said = kind_key(&node.kind, 0, &mut |reference| {
                    self.named(reference, ix, node.graph, (start, false), names)
                });
                let term = names.term(format!("entry {said:?}"));
                (names.conditions.atom(format!("t{term}")), None)
            }
        };
        self.entered[at] = names.conditions.and(start, has_one);
        self.entry[at] = asked;
    }

    /// Whether a node ends ok or failed, and what follows for its edges.
    fn outcome(&mut self, ix: NodeIx, names: &mut Names) {
        let at = ix as usize;
        let node = self.node(ix);
        let start = self.start[at];
        // A join may have more to undo than is kept.
        let may_fail = !matches!(node.kind, Kind::Join) || node.compensation.is_some();
        let survives =
            may_fail && (node.on_error == OnError::Continue || self.ir.outgoing(ix).iter().any(|edge| edge.on_error));
        self.survives[at] = survives;
        (self.ok[at], self.failed[at]) = match survives {
            true => {
                let success = names.conditions.atom(format!("success of t{}", self.term[at]));
                let failure = names.conditions.not(success);
                (names.conditions.and(start, success), names.conditions.and(start, failure))
            }
            // Where it fails, nothing goes on that could be asked.
            false => (start, NEVER),
        };
        let mut handled = if node.on_error == OnError::Continue { ALWAYS } else { NEVER };
        for (offset, edge) in self.ir.outgoing(ix).iter().enumerate() {
            let edge_ix = node.out.start as usize + offset;
            let context = if edge.on_error { self.failed[at] } else { self.ok[at] };
            self.guard[edge_ix] = match edge.when.as_ref().map(|guard| (guard, guard.literal())) {
                None => (ALWAYS, None),
                Some((_, Some(literal))) => {
                    (if matches!(literal, crate::value::Value::Bool(true)) { ALWAYS } else { NEVER }, None)
                }
                Some((guard, None)) => {
                    let mut asked = [false, true].map(|is_alias| {
                        let context = (context, is_alias);
                        guard.key(&mut |reference| self.named(reference, ix, node.graph, context, names))
                    });
                    let [term, alias] = asked.each_mut().map(|key| names.term(format!("guard {key}")));
                    // Asked at another time, it may say something else.
                    let place = match self.racy_guard[edge_ix] {
                        true => format!(" from {} to {}", node.id, self.node(edge.to).id),
                        false => String::new(),
                    };
                    (names.conditions.atom(format!("t{term}{place}")), Some((term, alias)))
                }
            };
            if edge.on_error {
                handled = names.conditions.or(handled, self.guard[edge_ix].0);
            }
        }
        self.fatal[at] = match (may_fail, survives) {
            (false, _) => NEVER,
            (true, false) => start,
            (true, true) => {
                let unhandled = names.conditions.not(handled);
                names.conditions.and(self.failed[at], unhandled)
            }
        };
    }

    fn live(&self, edge_ix: usize, edge: &Edge, names: &mut Names) -> Cond {
        let from = if edge.on_error { self.failed[edge.from as usize] } else { self.ok[edge.from as usize] };
        names.conditions.and(from, self.guard[edge_ix].0)
    }

    /// When the guard of an edge is evaluated, and what it asks. Its source has been decided by then.
    pub(super) fn asked(&self, edge_ix: usize) -> Option<(Cond, Asked)> {
        let edge = &self.ir.edges[edge_ix];
        let context = if edge.on_error { self.failed[edge.from as usize] } else { self.ok[edge.from as usize] };
        self.guard[edge_ix].1.filter(|_| context != NEVER).map(|asked| (context, asked))
    }

    /// The condition of an edge's guard and what it asks.
    pub(super) fn guard(&self, edge_ix: usize) -> (Cond, Option<Asked>) {
        self.guard[edge_ix]
    }

    /// The anchored nodes that are decided once this one is.
    pub(super) fn since_end(&self, ix: NodeIx) -> Bits {
        let mut since = self.since[ix as usize].clone();
        if let Some(number) = self.number[ix as usize] {
            since.add(number);
        }
        since
    }

    /// What a reference reads, for an expression of `ix` in a graph that is evaluated where the context holds; as an
    /// alias, without the cases in which there is something to read.
    fn named(
        &self,
        reference: &Reference,
        ix: NodeIx,
        graph: GraphIx,
        (context, is_alias): (Cond, bool),
        names: &mut Names,
    ) -> String {
        let path = &reference.path;
        let what = reference.root.word();
        let inside = |of_map: bool| format!("{what} of body {} {path:?}", self.innermost(graph, of_map));
        let node = match &reference.root {
            Root::Item | Root::Index => return inside(true),
            Root::Iteration | Root::Last => return inside(false),
            Root::Inputs | Root::Signal | Root::RunId | Root::RunStartedAt => return format!("{what} {path:?}"),
            Root::Output(node) | Root::Status(node) | Root::Error(node) => self.ix(node),
        };
        let at = node as usize;
        if is_alias {
            return format!("{what} a{} {path:?}", self.alias[at]);
        }
        let context = match self.node(node).graph == graph {
            true => context,
            // A body is done only where its owner has something to do.
            false => self.entered[self.owner_at(ix, self.node(node).graph) as usize],
        };
        let ok = names.conditions.and(self.ok[at], context);
        if what == "output" {
            let where_ok = if ok == context { String::new() } else { format!("c{ok}") };
            return format!("output t{} {where_ok} {path:?}", self.term[at]);
        }
        let started = names.conditions.and(self.start[at], context);
        format!("{what} t{} c{context} c{started} c{ok} {path:?}", self.term[at])
    }

    /// How deep the innermost body of a map (or of a loop) stands in which a graph is.
    fn innermost(&self, graph: GraphIx, of_map: bool) -> usize {
        let mut bodies = Vec::new();
        let mut at = graph;
        while let Some(owner) = self.ir.graphs[at as usize].owner {
            bodies.push(matches!(self.node(owner).kind, Kind::Map { .. }));
            at = self.node(owner).graph;
        }
        let place = bodies.iter().position(|is_map| *is_map == of_map);
        place.map_or(0, |place| bodies.len() - place)
    }
}

/// Whether a node keeps its place by what it is.
fn is_anchored(node: &Node) -> bool {
    let waits = matches!(node.kind, Kind::Composite { .. } | Kind::Timer(_) | Kind::Signal { .. } | Kind::Approval(_));
    let changes_the_run = matches!(node.kind, Kind::Agent { may_patch: true, .. });
    let remembers = node.breaker.as_ref().is_some_and(|breaker| breaker.fallback.is_some());
    waits
        || changes_the_run
        || remembers
        || node.effect == Effect::Write
        || node.compensation.is_some()
        || node.concurrency_key.is_some()
        || node.correction.is_some()
}

/// All that a node says but its id, its edges and its body; what it reads is called as `name` calls it.
fn own_key(step: &Step, body: Term, name: &mut dyn FnMut(&Reference) -> String) -> String {
    let Step {
        id: _,
        kind,
        join,
        cancels_rest: _,
        effect,
        retry,
        timeout_ns,
        schedule_to_close_ns,
        heartbeat_timeout_ns,
        breaker,
        correction,
        on_error,
        compensation,
        priority,
        concurrency_key,
        rate_limit,
    } = step;
    let kind = kind_key(kind, body, name);
    let breaker = breaker.as_ref().map(|breaker| {
        let fallback = match &breaker.fallback {
            Some(Fallback::Value(value)) => format!("value {}", value.key(name)),
            Some(Fallback::Cached) => "cached".to_owned(),
            None => String::new(),
        };
        (breaker.failure_threshold, breaker.timeout_ns, breaker.probes, fallback)
    });
    let compensation =
        compensation.as_ref().map(|undo| (&undo.name, undo.input.key(name), &undo.retry, undo.timeout_ns));
    let key = concurrency_key.as_ref().map(|key| key.key(name));
    let times = (timeout_ns, schedule_to_close_ns, heartbeat_timeout_ns);
    let said = (join, effect, retry, times, breaker, correction, on_error, compensation, priority, key);
    format!("{kind:?} {said:?} {rate_limit:?}")
}

fn kind_key(kind: &Kind, body: Term, name: &mut dyn FnMut(&Reference) -> String) -> Vec<String> {
    let optional = |template: &Option<Template>, name: &mut dyn FnMut(&Reference) -> String| {
        template.as_ref().map(|template| template.key(name)).unwrap_or_default()
    };
    match kind {
        Kind::Function { name: function, input, config } => {
            vec!["function".into(), function.to_string(), input.key(name), optional(config, name)]
        }
        Kind::Http(http) => vec![
            "http".into(),
            http.method.to_string(),
            http.url.key(name),
            optional(&http.query, name),
            optional(&http.headers, name),
            optional(&http.body, name),
            format!("{:?}", http.expect_status),
        ],
        Kind::Agent { model, may_patch: _, config } => vec!["agent".into(), model.to_string(), config.key(name)],
        Kind::Map { over, body: _, max_concurrency, items_max, skip_item_errors } => {
            let limits = format!("{max_concurrency} {items_max} {skip_item_errors}");
            vec!["map".into(), over.key(name), limits, format!("t{body}")]
        }
        Kind::Join => vec!["join".into()],
        Kind::Composite { workflow, version, tag, inputs } => {
            vec!["composite".into(), format!("{workflow:?} {version:?} {tag:?}"), inputs.key(name)]
        }
        Kind::Loop { body: _, condition, max_iterations } => {
            vec!["loop".into(), condition.key(name), max_iterations.to_string(), format!("t{body}")]
        }
        Kind::Timer(Timer::Duration(duration)) => vec!["timer".into(), duration.key(name)],
        Kind::Timer(Timer::Until(until)) => vec!["timer until".into(), until.key(name)],
        Kind::Signal { name: signal, matches, timeout_ns, continues, send } => vec![
            "signal".into(),
            signal.key(name),
            matches.as_ref().map(|matches: &Expression| matches.key(name)).unwrap_or_default(),
            format!("{timeout_ns:?} {continues}"),
            send.as_ref()
                .map(|send| format!("{:?}", (send.run_id.key(name), send.payload.key(name))))
                .unwrap_or_default(),
        ],
        Kind::Approval(approval) => vec![
            "approval".into(),
            approval.prompt.key(name),
            format!("{:?} {:?}", approval.timeout_ns, approval.on_timeout),
            format!("{:?} {:?}", approval.escalate_to, approval.escalate_after_ns),
        ],
    }
}
