//! `retry {max_attempts, initial_s, factor, max_s, jitter, non_retryable, by_error}`: when a failed attempt is followed
//! by another one.

use crate::document::{Reader, clip};
use crate::ir::{ErrorRetry, Retry};
use crate::value::canonical::{write_double, write_string};
use crate::value::scan::{At, Kind as Json};

/// Classes of errors with a policy of their own, at most.
const CLASSES_MAX: usize = 32;

/// Default of a node.
pub(crate) fn no_retry() -> Retry {
    Retry {
        max_attempts: 1,
        initial_ns: 200_000_000,
        factor: 2.0,
        max_ns: 30_000_000_000,
        jitter: 0.2,
        non_retryable: Box::default(),
        by_error: Box::default(),
    }
}

/// Default of a compensation.
pub(crate) fn compensation_retry() -> Retry {
    Retry { max_attempts: 3, ..no_retry() }
}

/// Reads a policy; what it does not state is that of `default`.
pub(crate) fn read_retry(reader: &mut Reader<'_, '_>, at: At, default: Retry) -> Option<Retry> {
    let [attempts, initial, factor, max, jitter, non_retryable, by_error] = reader.fields(
        at,
        "a retry policy",
        ["max_attempts", "initial_s", "factor", "max_s", "jitter", "non_retryable", "by_error"],
    );
    if reader.document.kind(at) != Json::Object {
        return None;
    }
    let mut retry = numbers(reader, [attempts, initial, factor, max, jitter], default);
    retry.non_retryable = non_retryable.map(|at| reader.names(at, "non_retryable")).unwrap_or_default();
    if let Some(at) = by_error {
        retry.by_error = read_classes(reader, at, &retry);
    }
    Some(retry)
}

fn numbers(reader: &mut Reader<'_, '_>, fields: [Option<At>; 5], default: Retry) -> Retry {
    let [attempts, initial, factor, max, jitter] = fields;
    Retry {
        max_attempts: attempts
            .and_then(|at| reader.integer(at, "max_attempts", 1, 1_000_000))
            .unwrap_or(default.max_attempts),
        initial_ns: initial.and_then(|at| reader.seconds(at, "initial_s", true)).unwrap_or(default.initial_ns),
        factor: factor.and_then(|at| reader.number(at, "factor", 1.0, 1_000.0)).unwrap_or(default.factor),
        max_ns: max.and_then(|at| reader.seconds(at, "max_s", true)).unwrap_or(default.max_ns),
        jitter: jitter.and_then(|at| reader.number(at, "jitter", 0.0, 1.0)).unwrap_or(default.jitter),
        ..default
    }
}

/// Classes of errors: what one does not state is that of the plain policy.
fn read_classes(reader: &mut Reader<'_, '_>, at: At, plain: &Retry) -> Box<[ErrorRetry]> {
    let elements = reader.elements(at, "by_error");
    if elements.len() > CLASSES_MAX {
        reader.note(at, "LIMIT_EXCEEDED", format!("by_error has more than {CLASSES_MAX} classes"));
    }
    let mut classes = Vec::new();
    for class in elements.into_iter().take(CLASSES_MAX) {
        let [types, attempts, initial, factor, max, jitter] = reader.fields(
            class,
            "a class of errors",
            ["types", "max_attempts", "initial_s", "factor", "max_s", "jitter"],
        );
        let Some(types_at) = reader.required(types, class, "a class of errors", "types") else { continue };
        let types = reader.names(types_at, "types");
        if types.is_empty() && reader.document.kind(types_at) == Json::Array {
            reader.note(types_at, "BAD_VALUE", "types names at least one type of error");
        }
        if let Some(never) = types.iter().find(|kind| plain.non_retryable.contains(kind)) {
            let message = format!("{:?} stands in non_retryable: it is never tried again", clip(never));
            reader.note(types_at, "BAD_VALUE", message);
        }
        let default = Retry { non_retryable: Box::default(), by_error: Box::default(), ..plain.clone() };
        let retry = numbers(reader, [attempts, initial, factor, max, jitter], default);
        classes.push(ErrorRetry { types, retry });
    }
    classes.into()
}

/// A duration as a definition has it.
pub(crate) fn seconds_json(ns: i64) -> Vec<u8> {
    if ns % 1_000_000_000 == 0 {
        return (ns / 1_000_000_000).to_string().into_bytes();
    }
    let mut out = Vec::new();
    write_double(ns as f64 / 1e9, &mut out);
    out
}

/// A policy in canonical JSON.
pub(crate) fn retry_json(retry: &Retry) -> Vec<u8> {
    let mut out = b"{".to_vec();
    if !retry.by_error.is_empty() {
        out.extend_from_slice(b"\"by_error\":[");
        for (n, class) in retry.by_error.iter().enumerate() {
            out.extend_from_slice(if n > 0 { b",{" } else { b"{" });
            write_numbers(&class.retry, &mut out);
            out.extend_from_slice(b",\"types\":");
            write_names(&class.types, &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],");
    }
    write_numbers(retry, &mut out);
    out.extend_from_slice(b",\"non_retryable\":");
    write_names(&retry.non_retryable, &mut out);
    out.push(b'}');
    out
}

fn write_numbers(retry: &Retry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"factor\":");
    write_double(retry.factor, out);
    out.extend_from_slice(b",\"initial_s\":");
    out.extend(seconds_json(retry.initial_ns));
    out.extend_from_slice(b",\"jitter\":");
    write_double(retry.jitter, out);
    out.extend_from_slice(format!(",\"max_attempts\":{},\"max_s\":", retry.max_attempts).as_bytes());
    out.extend(seconds_json(retry.max_ns));
}

fn write_names(names: &[Box<str>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (n, name) in names.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(name, out);
    }
    out.push(b']');
}
