//! Definitions: compile and look.

use crate::errors;
use apex_ir::ir::{Effect, ErrorRetry, RateLimit, Retry};
use apex_ir::overlay::{PatchLimits, Refusal, materialize, read_operations, resolve};
use apex_ir::{BreakerSpec, FallbackSpec, FunctionSpec, FunctionTable, Limits};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::Value;

/// One fault of a document.
#[pyclass(frozen, get_all, module = "apex_fast.core._core")]
pub(crate) struct Diagnostic {
    code: &'static str,
    pointer: String,
    message: String,
    hint: String,
}

impl From<apex_ir::Diagnostic> for Diagnostic {
    fn from(d: apex_ir::Diagnostic) -> Self {
        Self { code: d.code, pointer: d.pointer, message: d.message, hint: d.hint.unwrap_or_default() }
    }
}

#[pymethods]
impl Diagnostic {
    fn __repr__(&self) -> String {
        format!("{} at {:?}: {}", self.code, self.pointer, self.message)
    }
}

/// A compiled definition.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Definition(apex_ir::Ir);

#[pymethods]
impl Definition {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }
    #[getter]
    fn hash(&self) -> String {
        address(&self.0.hash)
    }
    #[getter]
    fn canonical<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.canonical)
    }
    #[getter]
    fn functions(&self) -> Vec<&str> {
        self.0.functions.iter().map(|f| &**f).collect()
    }
    #[getter]
    fn node_count(&self) -> usize {
        self.0.nodes.len()
    }
    #[getter]
    fn edge_count(&self) -> usize {
        self.0.edges.len()
    }
    /// How many nodes of the workflow's own graph stand at each level (longest path from a root).
    #[getter]
    fn levels(&self) -> Vec<usize> {
        let mut level = vec![0usize; self.0.nodes.len()];
        let mut widths = Vec::new();
        // Nodes of a graph are in topological order.
        for node in self.0.graphs.first().map_or(0..0, |g| g.nodes.clone()) {
            let at = self.0.incoming(node).map(|(_, edge)| level[edge.from as usize] + 1).max().unwrap_or(0);
            level[node as usize] = at;
            if widths.len() <= at {
                widths.resize(at + 1, 0);
            }
            widths[at] += 1;
        }
        widths
    }
    fn node_ids(&self) -> Vec<&str> {
        self.0.nodes.iter().map(|n| &*n.id).collect()
    }
    /// What the optimizer's passes are told: nodes, effects, and what each expression reads.
    #[getter]
    fn facts<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| apex_ir::facts::facts(&self.0)))
    }
    /// The definition that a patch (RFC 6902) makes of this one.
    fn patched(&self, py: Python<'_>, operations: &[u8]) -> PyResult<Definition> {
        let limits = Limits::default();
        let resolved = py.detach(|| resolve(&self.0, operations, None, &PatchLimits::default(), &limits));
        match resolved {
            Ok(resolved) => Ok(Definition(resolved.ir)),
            Err(Refusal::Shape(error)) => {
                Err(errors::core("PATCH_INVALID", &format!("{} (at {:?})", error.message, error.pointer)))
            }
            Err(Refusal::Meaning(faults)) => Err(errors::compile(faults)),
        }
    }
    /// The definition that logged patches (operations on ids, as JSON) make of this one, in order.
    fn overlaid(&self, py: Python<'_>, patches: Vec<Vec<u8>>) -> PyResult<Definition> {
        let made = py.detach(|| {
            let patches: Result<Vec<_>, String> = patches.iter().map(|patch| read_operations(patch)).collect();
            let patches = patches.map_err(|reason| errors::core("PATCH_INVALID", &reason))?;
            materialize(&self.0, &patches, &Limits::default())
                .map_err(|refusal| errors::core("PATCH_INVALID", &refusal.reason()))
        });
        made.map(Definition)
    }
    /// Why it is not proved that runs of `after` do what runs of this one do; empty: it is proved.
    fn doubts(&self, py: Python<'_>, after: &Definition) -> Vec<Diagnostic> {
        let doubts = py.detach(|| apex_ir::equivalence::check_equivalence(&self.0, &after.0));
        doubts.err().unwrap_or_default().into_iter().map(Diagnostic::from).collect()
    }
    fn check_inputs(&self, inputs: &[u8]) -> Vec<Diagnostic> {
        self.0.check_inputs(inputs).err().unwrap_or_default().into_iter().map(Diagnostic::from).collect()
    }
}

/// `sha256:<hex>`.
pub(crate) fn address(hash: &[u8; 32]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[pyfunction]
#[pyo3(signature = (definition, functions = None))]
fn compile(py: Python<'_>, definition: &[u8], functions: Option<&[u8]>) -> PyResult<Definition> {
    let table = functions.map(function_table).transpose()?;
    py.detach(|| apex_ir::compile(definition, table.as_ref(), &Limits::default()))
        .map(Definition)
        .map_err(errors::compile)
}

pub(crate) fn function_table(bytes: &[u8]) -> PyResult<FunctionTable> {
    let wrong = |what: String| errors::core("BAD_FUNCTION_TABLE", &what);
    let Value::Object(entries) = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))? else {
        return Err(wrong("the function table is an object".into()));
    };
    Ok(entries.iter().map(|(name, spec)| (name.clone(), function_spec(spec))).collect())
}

fn function_spec(spec: &Value) -> FunctionSpec {
    let effect = match spec["effect"].as_str() {
        Some("pure") => Some(Effect::Pure),
        Some("read") => Some(Effect::Read),
        Some("write") => Some(Effect::Write),
        _ => None,
    };
    let stated = |key: &str| spec.get(key).filter(|value| value.is_object());
    let plain = Retry {
        max_attempts: 1,
        initial_ns: 200_000_000,
        factor: 2.0,
        max_ns: 30_000_000_000,
        jitter: 0.2,
        non_retryable: Box::default(),
        by_error: Box::default(),
    };
    FunctionSpec {
        effect,
        rate_limit: stated("rate_limit").map(rate_of),
        retry: stated("retry").map(|retry| retry_of(retry, &plain)),
        timeout_s: spec["timeout_s"].as_f64(),
        schedule_to_close_s: spec["schedule_to_close_s"].as_f64(),
        heartbeat_timeout_s: spec["heartbeat_timeout_s"].as_f64(),
        breaker: stated("breaker").map(breaker_of),
        compensation: spec["compensation"].as_str().map(str::to_owned),
    }
}

/// A retry policy; what it does not state is that of `plain`.
fn retry_of(r: &Value, plain: &Retry) -> Retry {
    let seconds = |key: &str, default: i64| r[key].as_f64().map_or(default, |seconds| (seconds * 1e9) as i64);
    let mut retry = Retry {
        max_attempts: r["max_attempts"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(plain.max_attempts),
        initial_ns: seconds("initial_s", plain.initial_ns),
        factor: r["factor"].as_f64().unwrap_or(plain.factor),
        max_ns: seconds("max_s", plain.max_ns),
        jitter: r["jitter"].as_f64().unwrap_or(plain.jitter),
        non_retryable: names_of(&r["non_retryable"]),
        by_error: Box::default(),
    };
    let classes = r["by_error"].as_array().map_or(&[][..], Vec::as_slice);
    let classes = classes.iter().map(|class| ErrorRetry {
        types: names_of(&class["types"]),
        retry: Retry { non_retryable: Box::default(), ..retry_of(class, &retry) },
    });
    retry.by_error = classes.collect();
    retry
}

fn names_of(names: &Value) -> Box<[Box<str>]> {
    let names = names.as_array().map_or(&[][..], Vec::as_slice);
    names.iter().filter_map(|name| name.as_str().map(Box::from)).collect()
}

fn breaker_of(b: &Value) -> BreakerSpec {
    let number = |key: &str, default: u32| b[key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    let fallback =
        b.get("fallback").filter(|fallback| fallback.is_object()).map(|fallback| match fallback.get("value") {
            Some(value) => FallbackSpec::Value(value.to_string().into_bytes()),
            None => FallbackSpec::Cached,
        });
    BreakerSpec {
        failure_threshold: number("failure_threshold", 5),
        timeout_s: b["timeout_s"].as_f64().unwrap_or(30.0),
        probes: number("probes", 1),
        fallback,
    }
}

fn rate_of(rate: &Value) -> RateLimit {
    let number = |key: &str| rate[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let count = number("count").unwrap_or(1).max(1);
    let per_ns = (rate["per_s"].as_f64().unwrap_or(1.0) * 1e9) as i64;
    RateLimit { count, per_ns, burst: number("burst").unwrap_or(count).max(1) }
}

#[pyfunction]
fn check_value(value: &[u8]) -> PyResult<()> {
    apex_ir::value::check(value, &apex_ir::value::ValueLimits::default())
        .map_err(|e| errors::core(e.code, &format!("{} (at {:?}, byte {})", e.message, e.pointer, e.offset)))
}

#[pyfunction]
fn check_against(schema: &[u8], value: &[u8]) -> Vec<Diagnostic> {
    apex_ir::check_against(schema, value).err().unwrap_or_default().into_iter().map(Diagnostic::from).collect()
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Diagnostic>()?;
    module.add_class::<Definition>()?;
    module.add_function(wrap_pyfunction!(compile, module)?)?;
    module.add_function(wrap_pyfunction!(check_value, module)?)?;
    module.add_function(wrap_pyfunction!(check_against, module)?)
}
