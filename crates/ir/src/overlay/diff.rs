//! From two documents to a patch.

use super::patch::{Action, Patch, PatchOperation};
use super::pointer::Pointer;
use crate::value::Value;

/// The patch that makes `b` of `a`: applied to `a` it gives `b`, byte for byte in canonical form. Objects are compared
/// by name; arrays keep their common beginning and end, and what is between is compared place by place.
#[must_use]
pub fn diff(a: &Value, b: &Value) -> Patch {
    let mut patch = Patch::default();
    between(a, b, &Pointer::default(), &mut patch.operations);
    patch
}

fn between(a: &Value, b: &Value, at: &Pointer, out: &mut Vec<PatchOperation>) {
    if a.is_same_json(b) {
        return;
    }
    let mut push = |path: Pointer, action: Action| out.push(PatchOperation { path, action });
    match (a, b) {
        (Value::Map(_), Value::Map(_)) => {
            for (name, _) in a.members().filter(|(name, _)| b.member(name).is_none()) {
                push(at.child(name), Action::Remove);
            }
            for (name, value) in b.members() {
                match a.member(name) {
                    Some(before) => between(before, value, &at.child(name), out),
                    None => out.push(PatchOperation { path: at.child(name), action: Action::Add(value.clone()) }),
                }
            }
        }
        (Value::List(a), Value::List(b)) => {
            let same = |(a, b): &(&Value, &Value)| a.is_same_json(b);
            let start = a.iter().zip(b.iter()).take_while(same).count();
            let (a, b) = (&a[start..], &b[start..]);
            let end = a.iter().rev().zip(b.iter().rev()).take_while(same).count();
            let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
            let both = a.len().min(b.len());
            let element = |place: usize| at.child(&(start + place).to_string());
            for _ in both..a.len() {
                push(element(both), Action::Remove);
            }
            for place in 0..both {
                between(&a[place], &b[place], &element(place), out);
            }
            for (place, value) in b.iter().enumerate().skip(both) {
                out.push(PatchOperation { path: element(place), action: Action::Add(value.clone()) });
            }
        }
        _ => push(at.clone(), Action::Replace(b.clone())),
    }
}
