//! Which nodes lead to which, for the pairs that are asked.
//!
//! Most references name a node one or two edges back, which a short search answers. The rest is answered 256 nodes
//! at a time: a set of bits goes through the graph in its order, so 100,000 far references in a graph of 100,000
//! nodes cost 400 passes and no search.

use super::order::Order;
use super::read::Draft;

/// Edges looked at before a question is put off to the passes.
const SEARCH_MAX: usize = 48;
/// Words of bits in a pass.
const WORDS: usize = 4;

/// "Does a path lead from `from` to `to`?" between nodes of one graph; `tag` is the asker's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) tag: u32,
}

/// Gives the tags of the questions whose answer is no.
pub(crate) fn unreached(draft: &Draft<'_>, order: &Order, questions: &[Question]) -> Vec<u32> {
    let place = |ix: u32| order.place[ix as usize];
    let targets = |ix: u32| order.out(ix).iter().filter_map(|&edge| draft.edges[edge as usize].ends.map(|(_, to)| to));
    let mut no = Vec::new();
    let mut far: Vec<Question> = Vec::new();
    let into = Incoming::new(draft);
    let (mut queue, mut seen) = (Vec::new(), Vec::new());
    for &question in questions {
        if place(question.from) >= place(question.to) {
            no.push(question.tag);
            continue;
        }
        if order.out(question.from).len() <= 8 && targets(question.from).any(|to| to == question.to) {
            continue;
        }
        // Backwards from the asker, nearest first.
        let mut looked = 0;
        queue.clear();
        seen.clear();
        queue.push(question.to);
        let mut answer = Some(false);
        let mut next = 0;
        'search: while let Some(&ix) = queue.get(next) {
            next += 1;
            for &before in into.of(ix) {
                if before == question.from {
                    answer = Some(true);
                    break 'search;
                }
                looked += 1;
                if looked > SEARCH_MAX {
                    answer = None;
                    break 'search;
                }
                if place(before) > place(question.from) && !seen.contains(&before) {
                    seen.push(before);
                    queue.push(before);
                }
            }
        }
        match answer {
            Some(true) => {}
            Some(false) => no.push(question.tag),
            None => far.push(question),
        }
    }
    far.sort_unstable_by_key(|question| (draft.nodes[question.from as usize].graph, place(question.from)));
    let mut bits: Vec<[u64; WORDS]> = vec![[0; WORDS]; if far.is_empty() { 0 } else { draft.nodes.len() }];
    let mut rest = far.as_slice();
    while let Some(first) = rest.first() {
        let graph = draft.nodes[first.from as usize].graph;
        // As many questions as name 256 sources of one graph.
        let (mut sources, mut taken): (Vec<u32>, usize) = (Vec::new(), 0);
        for question in rest {
            if draft.nodes[question.from as usize].graph != graph {
                break;
            }
            if sources.last() != Some(&question.from) {
                if sources.len() == WORDS * 64 {
                    break;
                }
                sources.push(question.from);
            }
            taken += 1;
        }
        let (pass, after) = rest.split_at(taken);
        rest = after;
        let from = place(first.from) as usize;
        let to = pass.iter().map(|question| place(question.to)).max().unwrap_or(0) as usize;
        bits[from..=to].fill([0; WORDS]);
        let mut source = sources.iter().enumerate().peekable();
        for at in from..=to {
            let ix = order.drafts[at];
            let mut own = bits[at];
            if let Some((number, _)) = source.next_if(|(_, source)| **source == ix) {
                own[number / 64] |= 1 << (number % 64);
            }
            if own == [0; WORDS] {
                continue;
            }
            for target in targets(ix) {
                let target = place(target) as usize;
                if target <= to {
                    bits[target].iter_mut().zip(own).for_each(|(have, more)| *have |= more);
                }
            }
        }
        let mut number = 0;
        for question in pass {
            while sources[number] != question.from {
                number += 1;
            }
            if bits[place(question.to) as usize][number / 64] & (1 << (number % 64)) == 0 {
                no.push(question.tag);
            }
        }
    }
    no
}

/// Sources of the edges into each draft.
struct Incoming {
    starts: Vec<u32>,
    sources: Vec<u32>,
}

impl Incoming {
    fn new(draft: &Draft<'_>) -> Self {
        let mut starts = vec![0_u32; draft.nodes.len() + 1];
        let ends = || draft.edges.iter().filter_map(|edge| edge.ends);
        ends().for_each(|(_, to)| starts[to as usize + 1] += 1);
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut sources = vec![0; *starts.last().unwrap_or(&0) as usize];
        let mut next = starts.clone();
        for (from, to) in ends() {
            sources[next[to as usize] as usize] = from;
            next[to as usize] += 1;
        }
        Self { starts, sources }
    }

    fn of(&self, ix: u32) -> &[u32] {
        &self.sources[self.starts[ix as usize] as usize..self.starts[ix as usize + 1] as usize]
    }
}
