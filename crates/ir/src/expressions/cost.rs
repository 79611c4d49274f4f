//! What an expression costs, estimated from its text alone: literal lists by their length, other lists as one item.

use super::ast::{Ast, Macro};

/// Cost units of evaluating every part once.
pub(crate) fn estimate(ast: &Ast) -> u64 {
    let sum = |parts: &[Ast]| parts.iter().map(estimate).fold(0, u64::saturating_add);
    let inside = match ast {
        Ast::Literal(_) | Ast::Reference(_) | Ast::Local(_) => 0,
        Ast::List(parts) | Ast::And(parts) | Ast::Or(parts) | Ast::Call(_, parts) => sum(parts),
        Ast::Map(parts) => {
            parts.iter().map(|(key, value)| estimate(key).saturating_add(estimate(value))).fold(0, u64::saturating_add)
        }
        Ast::Select(part, _) | Ast::Has(part) | Ast::Not(part) | Ast::Negate(part) | Ast::Matches(part, _) => {
            estimate(part)
        }
        Ast::Index(parts) | Ast::Compare(_, parts) => estimate(&parts.0).saturating_add(estimate(&parts.1)),
        Ast::Arithmetic(first, rest) => {
            rest.iter().map(|(_, part)| estimate(part)).fold(estimate(first), u64::saturating_add)
        }
        Ast::Conditional(parts) => estimate(&parts.0).saturating_add(estimate(&parts.1).max(estimate(&parts.2))),
        Ast::Comprehension(comprehension) => {
            let filter = comprehension.filter.as_ref().map_or(0, estimate);
            let each = estimate(&comprehension.body).saturating_add(filter).saturating_add(1);
            estimate(&comprehension.range).saturating_add(length(&comprehension.range).saturating_mul(each))
        }
    };
    inside.saturating_add(1)
}

/// Items of a list, where its text says so.
fn length(ast: &Ast) -> u64 {
    match ast {
        Ast::List(parts) => parts.len() as u64,
        Ast::Map(parts) => parts.len() as u64,
        Ast::Arithmetic(first, rest) => {
            rest.iter().map(|(_, part)| length(part)).fold(length(first), u64::saturating_add)
        }
        Ast::Comprehension(comprehension) if comprehension.kind == Macro::Map && comprehension.filter.is_none() => {
            length(&comprehension.range)
        }
        _ => 1,
    }
}
