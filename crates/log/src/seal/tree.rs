//! A key of which any part can be forgotten: a tree of hashes (Goldreich, Goldwasser and Micali, 1986). Each leaf is a key of
//! its own; who holds a node has the leaves below it and no others. To forget leaves, the nodes above them are replaced by
//! those beside the way to them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::queue::unpoisoned;

/// Levels below the root: eight bits of kind, 64 of place.
const DEPTH: u8 = 72;
pub(super) const KEY_BYTES: usize = 32;
const LEAF_BYTES: usize = 9;
/// Of a node as it is kept: its first leaf, its depth, its key.
pub(super) const NODE_BYTES: usize = LEAF_BYTES + 1 + KEY_BYTES;

/// Number of a leaf, below 2^72.
pub(super) type Leaf = u128;
pub(super) type Key = [u8; KEY_BYTES];

#[derive(Clone)]
struct Node {
    depth: u8,
    key: Key,
}

/// What is left of it.
pub(super) struct Tree {
    /// By the first leaf below each; no two have a leaf in common.
    nodes: BTreeMap<Leaf, Node>,
    /// The way to the leaf that was asked for last: neighbours share most of it.
    way: Mutex<Way>,
}

#[derive(Default)]
struct Way {
    /// The node it begins at.
    first: Leaf,
    depth: u8,
    leaf: Leaf,
    /// From that node down to the leaf; empty before the first.
    keys: Vec<Key>,
}

impl Node {
    fn last(&self, first: Leaf) -> Leaf {
        first + (1 << (DEPTH - self.depth)) - 1
    }
}

impl Tree {
    /// All leaves of a root.
    pub(super) fn new(root: Key) -> Self {
        Tree::of(BTreeMap::from([(0, Node { depth: 0, key: root })]))
    }

    fn of(nodes: BTreeMap<Leaf, Node>) -> Self {
        Tree { nodes, way: Mutex::default() }
    }

    /// The key of a leaf; `None` where it is forgotten.
    pub(super) fn leaf(&self, leaf: Leaf) -> Option<Key> {
        let (first, node) = self.above(leaf)?;
        let mut way = unpoisoned(self.way.lock());
        if way.keys.is_empty() || (way.first, way.depth) != (first, node.depth) {
            *way = Way { first, depth: node.depth, leaf, keys: vec![node.key] };
        }
        let shared = DEPTH - (Leaf::BITS - (way.leaf ^ leaf).leading_zeros()) as u8;
        way.keys.truncate(usize::from(shared - node.depth) + 1);
        way.leaf = leaf;
        while way.keys.len() <= usize::from(DEPTH - node.depth) {
            let above = way.keys.last()?;
            let depth = node.depth + way.keys.len() as u8;
            let next = child(above, bit(leaf, depth));
            way.keys.push(next);
        }
        way.keys.last().copied()
    }

    /// True if a leaf is not forgotten.
    pub(super) fn holds(&self, leaf: Leaf) -> bool {
        self.above(leaf).is_some()
    }

    fn above(&self, leaf: Leaf) -> Option<(Leaf, &Node)> {
        let (&first, node) = self.nodes.range(..=leaf).next_back()?;
        (leaf <= node.last(first)).then_some((first, node))
    }

    /// Forgets the leaves from `from` to `to`, both included.
    pub(super) fn forget(&mut self, from: Leaf, to: Leaf) {
        let touched = self.nodes.range(..=to).rev().take_while(|&(&first, node)| node.last(first) >= from);
        let mut ahead: Vec<(Leaf, Node)> = touched.map(|(&first, node)| (first, node.clone())).collect();
        for (first, _) in &ahead {
            self.nodes.remove(first);
        }
        while let Some((first, node)) = ahead.pop() {
            let last = node.last(first);
            if to < first || last < from {
                self.nodes.insert(first, node);
            } else if first < from || to < last {
                let depth = node.depth + 1;
                let half = 1 << (DEPTH - depth);
                ahead.push((first, Node { depth, key: child(&node.key, false) }));
                ahead.push((first + half, Node { depth, key: child(&node.key, true) }));
            }
        }
        *unpoisoned(self.way.lock()) = Way::default();
    }

    /// Forgets the leaves from `from` to `to`, both included, but for those that are named.
    pub(super) fn retain(&mut self, from: Leaf, to: Leaf, leaves: impl Iterator<Item = Leaf>) {
        let kept: Vec<(Leaf, Key)> = leaves.filter_map(|leaf| Some((leaf, self.leaf(leaf)?))).collect();
        self.forget(from, to);
        self.nodes.extend(kept.into_iter().map(|(leaf, key)| (leaf, Node { depth: DEPTH, key })));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.nodes.len() * NODE_BYTES);
        for (first, node) in &self.nodes {
            out.extend_from_slice(&first.to_le_bytes()[..LEAF_BYTES]);
            out.push(node.depth);
            out.extend_from_slice(&node.key);
        }
        out
    }

    /// `None` where it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        let mut free_from = 0;
        if !bytes.len().is_multiple_of(NODE_BYTES) {
            return None;
        }
        for entry in bytes.chunks_exact(NODE_BYTES) {
            let mut first = [0; size_of::<Leaf>()];
            first[..LEAF_BYTES].copy_from_slice(&entry[..LEAF_BYTES]);
            let first = Leaf::from_le_bytes(first);
            let mut key = [0; KEY_BYTES];
            key.copy_from_slice(&entry[LEAF_BYTES + 1..]);
            let node = Node { depth: entry[LEAF_BYTES], key };
            if node.depth > DEPTH || first < free_from || first % (1 << (DEPTH - node.depth)) != 0 {
                return None;
            }
            free_from = node.last(first) + 1;
            nodes.insert(first, node);
        }
        Some(Tree::of(nodes))
    }
}

/// Whether the way to a leaf goes right, to a node of that depth.
fn bit(leaf: Leaf, depth: u8) -> bool {
    leaf >> (DEPTH - depth) & 1 == 1
}

fn child(key: &Key, right: bool) -> Key {
    Sha256::new().chain_update(key).chain_update([u8::from(right)]).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ROOT: Key = [7; KEY_BYTES];

    fn by_hand(leaf: Leaf) -> Key {
        (1..=DEPTH).fold(ROOT, |key, depth| child(&key, bit(leaf, depth)))
    }

    #[test]
    fn a_leaf_is_the_hash_of_the_way_to_it_in_any_order_of_asking() {
        let tree = Tree::new(ROOT);
        for leaf in [0, 1, 2, 3, 2, 1 << 40, (1 << 64) + 5, (1 << 72) - 1, 0, 5, 4] {
            assert_eq!(tree.leaf(leaf), Some(by_hand(leaf)), "{leaf}");
        }
    }

    #[test]
    fn what_is_forgotten_is_gone_and_all_else_is_as_it_was() {
        let mut tree = Tree::new(ROOT);
        assert_eq!(tree.leaf(101), Some(by_hand(101)));
        tree.forget(100, 102);
        tree.forget(7, 7);
        tree.forget(6, 6);
        tree.forget(1 << 64, (1 << 64) + 1000);
        let tree = Tree::decode(&tree.encode()).unwrap();
        for leaf in 0..200 {
            let is_gone = matches!(leaf, 6 | 7 | 100..=102);
            assert_eq!(tree.leaf(leaf), (!is_gone).then(|| by_hand(leaf)), "{leaf}");
            assert_eq!(tree.holds(leaf), !is_gone);
        }
        assert_eq!(tree.leaf((1 << 64) + 1000), None);
        assert_eq!(tree.leaf((1 << 64) + 1001), Some(by_hand((1 << 64) + 1001)));
        assert_eq!(tree.leaf((1 << 72) - 1), Some(by_hand((1 << 72) - 1)));
    }

    #[test]
    fn no_key_that_is_kept_leads_to_a_forgotten_one() {
        let mut tree = Tree::new(ROOT);
        tree.forget(9, 9);
        // Every node above the leaf, the leaf included.
        let mut key = ROOT;
        let kept = tree.encode();
        for depth in 1..=DEPTH {
            assert!(!kept.windows(KEY_BYTES).any(|part| part == key), "{depth}");
            key = child(&key, bit(9, depth));
        }
        assert!(!kept.windows(KEY_BYTES).any(|part| part == key));
        assert_eq!(kept.len(), usize::from(DEPTH) * NODE_BYTES);
    }

    #[test]
    fn only_what_is_named_stays_of_a_part() {
        let mut tree = Tree::new(ROOT);
        tree.forget(11, 11);
        tree.retain(0, 999, [10, 11, 500].into_iter());
        for leaf in [0, 9, 10, 11, 12, 500, 999, 1000, 1 << 70] {
            let stays = matches!(leaf, 10 | 500) || leaf >= 1000;
            assert_eq!(tree.leaf(leaf), stays.then(|| by_hand(leaf)), "{leaf}");
        }
    }

    #[test]
    fn all_of_it_can_be_forgotten() {
        let mut tree = Tree::new(ROOT);
        tree.forget(0, (1 << 72) - 1);
        assert!(tree.encode().is_empty());
        assert_eq!(tree.leaf(3), None);
        assert!(Tree::decode(&[]).unwrap().leaf(3).is_none());
        assert!(Tree::decode(&[0; 5]).is_none());
    }
}
