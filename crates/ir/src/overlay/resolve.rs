//! From two definitions to operations on ids.

use super::operation::{After, EdgeKey, Operation};
use super::parts::{Owner, Parts, holds_graph};
use super::pointer::Pointer;
use crate::id::{HashMap, Id, table};
use crate::value::Value;
use std::hash::Hash;

/// The operations on ids that make `after` of `before`. In this order: what goes, edges first and inner nodes before
/// those that hold them; nodes that come or stand elsewhere; members; edges that come, change or stand elsewhere.
pub(crate) fn between<'p>(before: &'p Parts, after: &'p Parts) -> Vec<Operation> {
    let stays = staying(before, after);
    let mut out = Vec::new();
    let owner = |parts: &'p Parts, key: &EdgeKey| parts.nodes.get(&key.from).map(|node| &node.owner);
    // An edge stays where its graph does; the ends of one may be others by the same ids.
    let edge_stays = |key: &EdgeKey| {
        let (old, new) = (owner(before, key), owner(after, key));
        let graph_stays = old.is_none_or(|owner| owner.as_ref().is_none_or(|owner| stays.contains_key(&**owner)));
        after.edges.contains_key(key) && old == new && graph_stays
    };
    let mut removed: Vec<&EdgeKey> = before.edge_keys().filter(|key| !edge_stays(key)).collect();
    removed.sort_unstable();
    out.extend(removed.into_iter().map(|key| Operation::RemoveEdge { edge: key.clone() }));
    let mut gone: Vec<(usize, &str)> =
        before.ids().filter(|id| !stays.contains_key(&***id)).map(|id| (depth(before, id), &**id)).collect();
    gone.sort_by_key(|(depth, id)| (std::cmp::Reverse(*depth), *id));
    out.extend(gone.into_iter().map(|(_, id)| Operation::RemoveNode { id: id.into() }));

    // Only graphs that stay: others come with the node that holds them.
    let graphs =
        || after.graphs.iter().filter(|(owner, _)| owner.as_ref().is_none_or(|owner| stays.contains_key(&**owner)));
    for (owner, graph) in graphs() {
        let have = before.graphs.get(owner).map_or(&[][..], |graph| &graph.nodes);
        for (id, place, is_there) in arranged(have, &graph.nodes, |id| stays.contains_key(&**id)) {
            match is_there {
                true => out.push(Operation::MoveNode { id, after: place }),
                false => {
                    let node = after.whole_node(&id).unwrap_or(Value::Null);
                    out.push(Operation::AddNode { body: owner.clone(), after: place, node });
                }
            }
        }
    }
    members(None, &before.workflow, &after.workflow, &mut out);
    for id in before.ids().filter(|id| stays.contains_key(&***id)) {
        if let (Some(old), Some(new)) = (before.nodes.get(id), after.nodes.get(id))
            && !old.value.is_same_json(&new.value)
        {
            members(Some(id), &old.value, &new.value, &mut out);
        }
    }
    for (owner, graph) in graphs() {
        let have = before.graphs.get(owner).map_or(&[][..], |graph| &graph.edges);
        for (edge, place, is_there) in arranged(have, &graph.edges, edge_stays) {
            match is_there {
                true => out.push(Operation::MoveEdge { edge, after: place }),
                false => {
                    let edge = after.edges.get(&edge).cloned().unwrap_or(Value::Null);
                    out.push(Operation::AddEdge { after: place, edge });
                }
            }
        }
        for key in graph.edges.iter().filter(|key| edge_stays(key)) {
            if let (Some(old), Some(new)) = (before.edges.get(key), after.edges.get(key))
                && !old.is_same_json(new)
            {
                out.push(Operation::ReplaceEdge { edge: new.clone() });
            }
        }
    }
    out
}

/// Nodes that are the same ones in both: same id and type, in the body of the same holder, which stays too.
fn staying<'p>(before: &'p Parts, after: &Parts) -> HashMap<&'p str, ()> {
    let mut stays = table(before.nodes.len());
    let mut owners: Vec<Owner> = vec![None];
    while let Some(owner) = owners.pop() {
        for id in before.graphs.get(&owner).into_iter().flat_map(|graph| &graph.nodes) {
            let (Some(old), Some(new)) = (before.nodes.get(id), after.nodes.get(id)) else { continue };
            let same_type = match (old.value.member("type"), new.value.member("type")) {
                (Some(old), Some(new)) => old.is_same_json(new),
                (old, new) => old.is_none() && new.is_none(),
            };
            if old.owner == new.owner && same_type && holds_graph(&old.value) == holds_graph(&new.value) {
                stays.insert(&**id, ());
                if holds_graph(&old.value) {
                    owners.push(Some(id.clone()));
                }
            }
        }
    }
    stays
}

/// How many bodies a node stands in.
fn depth(parts: &Parts, id: &str) -> usize {
    let mut depth = 0;
    let mut owner = parts.nodes.get(id).and_then(|node| node.owner.as_ref());
    while let Some(id) = owner {
        depth += 1;
        owner = parts.nodes.get(id).and_then(|node| node.owner.as_ref());
    }
    depth
}

/// What has to be put, in order, so that a list becomes the other one: the key, after what, and whether it stands in
/// the list already. As few as can be of those that stay are moved.
fn arranged<K: Eq + Hash + Clone>(before: &[K], after: &[K], stays: impl Fn(&K) -> bool) -> Vec<(K, After<K>, bool)> {
    if before == after && after.iter().all(&stays) {
        return Vec::new();
    }
    let places: HashMap<&K, usize> = before.iter().enumerate().map(|(place, key)| (key, place)).collect();
    let place = |key: &K| if stays(key) { places.get(key).copied() } else { None };
    let keep = increasing(&after.iter().map(&place).collect::<Vec<_>>());
    // What comes after the last that keeps its place is put at the end.
    let tail = keep.iter().rposition(|keeps| *keeps).map_or(0, |last| last + 1);
    let mut out = Vec::new();
    for (at, key) in after.iter().enumerate().filter(|(at, _)| !keep[*at]) {
        let after = match at {
            _ if at >= tail => After::All,
            0 => After::Nothing,
            _ => After::This(after[at - 1].clone()),
        };
        out.push((key.clone(), after, place(key).is_some()));
    }
    out
}

/// Marks a longest increasing subsequence (patience sorting, n log n).
fn increasing(places: &[Option<usize>]) -> Vec<bool> {
    let (mut piles, mut below): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), vec![None; places.len()]);
    for (at, place) in places.iter().enumerate() {
        if place.is_none() {
            continue;
        }
        let pile = piles.partition_point(|&top| places[top] < *place);
        below[at] = pile.checked_sub(1).map(|pile| piles[pile]);
        match piles.get_mut(pile) {
            Some(top) => *top = at,
            None => piles.push(at),
        }
    }
    let mut keep = vec![false; places.len()];
    let mut at = piles.last().copied();
    while let Some(place) = at {
        keep[place] = true;
        at = below[place];
    }
    keep
}

/// Sets and unsets the members that differ; goes into objects, never into lists.
fn members(node: Option<&Id>, before: &Value, after: &Value, out: &mut Vec<Operation>) {
    let mut open = vec![(Pointer::default(), before, after)];
    while let Some((at, before, after)) = open.pop() {
        for (name, _) in in_order(before).into_iter().filter(|(name, _)| after.member(name).is_none()) {
            out.push(Operation::Unset { node: node.cloned(), at: at.child(name) });
        }
        for (name, value) in in_order(after) {
            match before.member(name) {
                Some(old) if old.is_same_json(value) => {}
                Some(old @ Value::Map(_)) if matches!(value, Value::Map(_)) => open.push((at.child(name), old, value)),
                _ => out.push(Operation::Set { node: node.cloned(), at: at.child(name), value: value.clone() }),
            }
        }
    }
}

/// The members by name: the order in which they came to be there says nothing.
fn in_order(value: &Value) -> Vec<(&str, &Value)> {
    let mut members: Vec<(&str, &Value)> = value.members().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    members
}
