//! Conditions: formulas over atoms, each formula once, so that two are equal where their numbers are (reduced ordered
//! binary decision diagrams, Bryant 1986). Atoms are ordered as they are first named.

use std::collections::HashMap;

/// A formula.
pub(super) type Cond = u32;

pub(super) const NEVER: Cond = 0;
pub(super) const ALWAYS: Cond = 1;

/// Above this nothing is decided any more, and nothing is proved.
const NODES_MAX: usize = 200_000;
/// The recursion is as deep as there are atoms.
const ATOMS_MAX: usize = 1_000;

/// All formulas of a comparison.
pub(super) struct Conditions {
    /// Atom, formula where it is false, formula where it is true. The first two are the constants.
    nodes: Vec<(u32, Cond, Cond)>,
    known: HashMap<(u32, Cond, Cond), Cond>,
    done: HashMap<(Cond, Cond, Cond), Cond>,
    atoms: HashMap<String, u32>,
    /// There were too many: what is said since then means nothing.
    pub(super) overflowed: bool,
}

impl Conditions {
    pub(super) fn new() -> Self {
        let constant = (u32::MAX, NEVER, NEVER);
        Self {
            nodes: vec![constant, constant],
            known: HashMap::new(),
            done: HashMap::new(),
            atoms: HashMap::new(),
            overflowed: false,
        }
    }

    /// What is true or not by itself.
    pub(super) fn atom(&mut self, name: String) -> Cond {
        let next = self.atoms.len() as u32;
        let atom = *self.atoms.entry(name).or_insert(next);
        self.overflowed |= atom as usize >= ATOMS_MAX;
        self.node(atom, NEVER, ALWAYS)
    }

    pub(super) fn not(&mut self, a: Cond) -> Cond {
        self.choose(a, NEVER, ALWAYS)
    }

    pub(super) fn and(&mut self, a: Cond, b: Cond) -> Cond {
        self.choose(a, b, NEVER)
    }

    pub(super) fn or(&mut self, a: Cond, b: Cond) -> Cond {
        self.choose(a, ALWAYS, b)
    }

    pub(super) fn implies(&mut self, a: Cond, b: Cond) -> bool {
        self.and(a, b) == a
    }

    fn node(&mut self, atom: u32, no: Cond, yes: Cond) -> Cond {
        if no == yes {
            return no;
        }
        let next = self.nodes.len() as Cond;
        let found = *self.known.entry((atom, no, yes)).or_insert(next);
        if found == next {
            self.nodes.push((atom, no, yes));
        }
        found
    }

    /// `a ? b : c`
    fn choose(&mut self, a: Cond, b: Cond, c: Cond) -> Cond {
        match (a, b, c) {
            (ALWAYS, b, _) => return b,
            (NEVER, _, c) => return c,
            (a, ALWAYS, NEVER) => return a,
            (_, b, c) if b == c => return b,
            _ => {}
        }
        self.overflowed |= self.nodes.len() > NODES_MAX;
        if self.overflowed {
            return NEVER;
        }
        if let Some(&known) = self.done.get(&(a, b, c)) {
            return known;
        }
        let top = [a, b, c].map(|of| self.nodes[of as usize].0).into_iter().min().unwrap_or(u32::MAX);
        let half = |of: Cond, yes: bool| match self.nodes[of as usize] {
            (atom, no, _) if atom == top && !yes => no,
            (atom, _, it) if atom == top => it,
            _ => of,
        };
        let (no, yes) = ([a, b, c].map(|of| half(of, false)), [a, b, c].map(|of| half(of, true)));
        let no = self.choose(no[0], no[1], no[2]);
        let yes = self.choose(yes[0], yes[1], yes[2]);
        let made = self.node(top, no, yes);
        self.done.insert((a, b, c), made);
        made
    }
}
