//! One node read in place of another, in the text of expressions.

use serde_json::Value;

/// Lets every `${…}` of a value read `to` where it read `from`. Names are found as the compiler finds them:
/// `nodes.ID` or `nodes["ID"]`, outside of string literals.
pub fn in_templates(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => *text = in_template(text, from, to),
        Value::Array(list) => list.iter_mut().for_each(|one| in_templates(one, from, to)),
        Value::Object(members) => members.values_mut().for_each(|one| in_templates(one, from, to)),
        _ => {}
    }
}

/// What stands between `${` and the `}` that ends it.
fn in_template(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        out.push_str(before);
        out.push_str("${");
        let inside = &after[2..];
        if before.ends_with('$') {
            rest = inside;
            continue;
        }
        let end = end_of(inside);
        out.push_str(&in_expression(&inside[..end], from, to));
        rest = &inside[end..];
    }
    out.push_str(rest);
    out
}

/// Where the expression that begins here ends: at the brace that it did not open.
fn end_of(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        match next {
            '\'' | '"' => {
                at += literal(&text[at..]);
                continue;
            }
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
        at += next.len_utf8();
    }
    text.len()
}

/// The length of the string literal that begins here.
fn literal(text: &str) -> usize {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let end: &str = if text.starts_with(&triple) { &triple } else { quote };
    let mut at = end.len();
    while at < text.len() && !text[at..].starts_with(end) {
        let escape = text[at..].starts_with('\\');
        at += text[at..].chars().take(1 + usize::from(escape)).map(char::len_utf8).sum::<usize>();
    }
    (at + end.len()).min(text.len())
}

/// The same for a text that is an expression as a whole: a guard, a condition.
#[must_use]
pub fn in_expression(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut word_before = false;
    while let Some(next) = text[at..].chars().next() {
        if matches!(next, '\'' | '"') {
            let length = literal(&text[at..]);
            out.push_str(&text[at..at + length]);
            at += length;
            word_before = false;
            continue;
        }
        if !word_before && let Some(length) = named(&text[at..], from) {
            out.push_str(&spelled(to));
            at += length;
            word_before = true;
            continue;
        }
        out.push(next);
        at += next.len_utf8();
        word_before = next == '_' || next == '.' || next.is_alphanumeric();
    }
    out
}

/// The length of `nodes.ID` or `nodes["ID"]`, where it stands here.
fn named(text: &str, id: &str) -> Option<usize> {
    let rest = text.strip_prefix("nodes")?;
    let is_word = |text: &str| text.starts_with(|next: char| next == '_' || next.is_ascii_alphanumeric());
    if let Some(after) = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(id)) {
        return (is_name(id) && !is_word(after)).then_some(text.len() - after.len());
    }
    ['"', '\''].into_iter().find_map(|quote| {
        let after = rest.strip_prefix('[')?.strip_prefix(quote)?.strip_prefix(id)?.strip_prefix(quote)?;
        Some(text.len() - after.strip_prefix(']')?.len())
    })
}

fn spelled(id: &str) -> String {
    if is_name(id) { format!("nodes.{id}") } else { format!("nodes[\"{id}\"]") }
}

fn is_name(id: &str) -> bool {
    const RESERVED: [&str; 4] = ["true", "false", "null", "in"];
    id.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) && !RESERVED.contains(&id)
}

#[cfg(test)]
mod tests {
    use super::{in_expression, in_templates};
    use serde_json::json;

    #[test]
    fn another_node_is_read_wherever_an_expression_names_the_first() {
        let mut value = json!({
            "a": "${nodes.b.output.x + nodes[\"b\"].output.y} and nodes.b and ${ 'nodes.b' + nodes.bb.output }",
            "c": "$${nodes.b.output}",
            "m": ["${ {'k': nodes['b'].status}['k'] } ${nodes.b.error}"],
        });
        in_templates(&mut value, "b", "a-1");
        let expected = json!({
            "a": "${nodes[\"a-1\"].output.x + nodes[\"a-1\"].output.y} and nodes.b and ${ 'nodes.b' + nodes.bb.output }",
            "c": "$${nodes.b.output}",
            "m": ["${ {'k': nodes[\"a-1\"].status}['k'] } ${nodes[\"a-1\"].error}"],
        });
        assert_eq!(value, expected);
        assert_eq!(
            in_expression("nodes.b.output > 1 && x.nodes.b != \"}\"", "b", "c"),
            "nodes.c.output > 1 && x.nodes.b != \"}\""
        );
    }
}
