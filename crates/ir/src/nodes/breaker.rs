//! `breaker {failure_threshold, timeout_s, probes, fallback}`: when a tool or host that fails is left alone for a while,
//! and what a node gives meanwhile.

use super::retry::seconds_json;
use crate::document::{Reader, nanoseconds, nothing};
use crate::expressions::Template;
use crate::functions::{BreakerSpec, FallbackSpec};
use crate::ir::{Breaker, Fallback};
use crate::value::ValueLimits;
use crate::value::scan::{At, Kind as Json, read};

const THRESHOLD: u32 = 5;
const TIMEOUT_NS: i64 = 30_000_000_000;
const PROBES: u32 = 1;

/// Reads a breaker.
pub(crate) fn read_breaker(reader: &mut Reader<'_, '_>, at: At) -> Option<Box<Breaker>> {
    let [threshold, timeout, probes, fallback] =
        reader.fields(at, "a breaker", ["failure_threshold", "timeout_s", "probes", "fallback"]);
    if reader.document.kind(at) != Json::Object {
        return None;
    }
    Some(Box::new(Breaker {
        failure_threshold: threshold
            .and_then(|at| reader.integer(at, "failure_threshold", 1, 1_000_000))
            .unwrap_or(THRESHOLD),
        timeout_ns: timeout.and_then(|at| reader.seconds(at, "timeout_s", false)).unwrap_or(TIMEOUT_NS),
        probes: probes.and_then(|at| reader.integer(at, "probes", 1, 1_000)).unwrap_or(PROBES),
        fallback: fallback.and_then(|at| read_fallback(reader, at)),
    }))
}

fn read_fallback(reader: &mut Reader<'_, '_>, at: At) -> Option<Fallback> {
    let [value, cached] = reader.fields(at, "a fallback", ["value", "cached"]);
    match (value, cached) {
        (Some(_), Some(cached)) => {
            reader.note(cached, "BAD_VALUE", "a fallback is a value or the cached one, not both");
            None
        }
        (Some(value), None) => Some(Fallback::Value(reader.template(value))),
        (None, Some(cached)) => {
            if reader.boolean(cached, "cached") == Some(false) {
                reader.note(cached, "BAD_VALUE", "cached is true, or left out");
            }
            Some(Fallback::Cached)
        }
        (None, None) => {
            reader.either(at, "a fallback", "value", "cached");
            None
        }
    }
}

/// The breaker that a function states for itself: as it is written into the node, and as it is read.
pub(crate) fn fill_breaker(reader: &Reader<'_, '_>, spec: &BreakerSpec) -> (Vec<u8>, Box<Breaker>) {
    let timeout_ns = nanoseconds(spec.timeout_s);
    let (fallback_json, fallback) = match &spec.fallback {
        None => (Vec::new(), None),
        Some(FallbackSpec::Cached) => (b"{\"cached\":true}".to_vec(), Some(Fallback::Cached)),
        Some(FallbackSpec::Value(value)) => {
            let limits = ValueLimits::default();
            let canonical = crate::value::canonical(value, &limits).unwrap_or_else(|_| b"null".to_vec());
            let template = template_of(reader, &canonical);
            let json = [b"{\"value\":", canonical.as_slice(), b"}"].concat();
            (json, Some(Fallback::Value(template)))
        }
    };
    let mut json = format!("{{\"failure_threshold\":{}", spec.failure_threshold).into_bytes();
    if !fallback_json.is_empty() {
        json.extend_from_slice(b",\"fallback\":");
        json.extend(fallback_json);
    }
    json.extend_from_slice(format!(",\"probes\":{},\"timeout_s\":", spec.probes).as_bytes());
    json.extend(seconds_json(timeout_ns));
    json.push(b'}');
    let (failure_threshold, probes) = (spec.failure_threshold.max(1), spec.probes.max(1));
    (json, Box::new(Breaker { failure_threshold, timeout_ns, probes, fallback }))
}

/// A template that stands outside of the document.
pub(crate) fn template_of(reader: &Reader<'_, '_>, json: &[u8]) -> Template {
    let limits = ValueLimits { bytes_max: usize::MAX, depth_max: 256 };
    let Ok(document) = read(json, &limits) else { return nothing() };
    // What is wrong with what it was made of was noted where that stands.
    let expression = &reader.limits.expression;
    crate::expressions::TemplateCompiler { limits: expression, faults: Vec::new() }.compile(&document, 0)
}
