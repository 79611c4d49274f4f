//! The history of one run: a state in its past, a file, a file decided anew.

use crate::errors;
use crate::event::Event;
use crate::views::{RunView, WorkflowView};
use apex_machine::RunId;
use apex_machine::history::{self, HistoryError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

/// A history that this engine decides as it was decided.
#[pyclass(frozen, module = "apex_fast.core._core")]
struct HistoryChecked(history::Checked);

#[pymethods]
impl HistoryChecked {
    #[getter]
    fn run_id(&self) -> String {
        self.0.run_id.to_string()
    }
    #[getter]
    fn records(&self) -> u64 {
        self.0.records
    }
    #[getter]
    fn decided(&self) -> u64 {
        self.0.decided
    }
}

fn refused(error: &HistoryError) -> PyErr {
    let code = match error {
        HistoryError::Differs(_) => "HISTORY_DIFFERS",
        HistoryError::Format(_) | HistoryError::Record { .. } => "HISTORY_INVALID",
    };
    errors::core(code, &error.to_string())
}

#[pyfunction]
fn view_at(py: Python<'_>, events: Vec<PyRef<'_, Event>>) -> PyResult<RunView> {
    let bodies: Vec<&[u8]> = events.iter().map(|event| event.body()).collect();
    let head = events.last().map_or(0, |event| event.position());
    let mut view = py.detach(|| history::view_at(&bodies)).map_err(|error| refused(&error))?;
    view.head = head;
    Ok(RunView(view))
}

/// Where the nodes of a run stand after its events, by id.
#[pyfunction]
fn node_states(py: Python<'_>, events: Vec<PyRef<'_, Event>>) -> PyResult<BTreeMap<String, &'static str>> {
    let bodies: Vec<&[u8]> = events.iter().map(|event| event.body()).collect();
    let found = py.detach(|| history::node_states(&bodies)).map_err(|error| refused(&error))?;
    Ok(found.into_iter().map(|(id, state)| (id, state.as_str())).collect())
}

/// JSON, offset and epoch.
#[pyfunction]
fn query_history<'py>(py: Python<'py>, file: &[u8], expression: &str) -> PyResult<(Bound<'py, PyBytes>, u64, u32)> {
    let answer = py.detach(|| history::query(file, expression)).map_err(|error| refused(&error))?;
    let answer = answer.map_err(|refusal| errors::core(refusal.code, &refusal.message))?;
    Ok((PyBytes::new(py, &answer.json), answer.offset, answer.epoch))
}

#[pyfunction]
fn history_header<'py>(
    py: Python<'py>,
    engine: &str,
    run_id: &str,
    tenant: &str,
    definitions: Vec<PyRef<'_, WorkflowView>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let run_id: RunId = crate::commands::parse_run_id(run_id)?;
    let hashes: Vec<String> = definitions.iter().map(|view| crate::definition::address(&view.0.hash)).collect();
    let definitions: Vec<(&str, &str, &str, &[u8])> = definitions
        .iter()
        .zip(&hashes)
        .map(|(view, hash)| (&*view.0.name, &*view.0.version, hash.as_str(), &*view.0.definition))
        .collect();
    Ok(PyBytes::new(py, &history::header(engine, &run_id, tenant, &definitions)))
}

#[pyfunction]
fn check_history(py: Python<'_>, file: &[u8]) -> PyResult<HistoryChecked> {
    let file = file.to_vec();
    py.detach(|| {
        std::panic::catch_unwind(|| history::check(&file))
            .unwrap_or_else(|_| Err(HistoryError::Format("deciding the history failed within the engine".into())))
    })
    .map(HistoryChecked)
    .map_err(|error| refused(&error))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HistoryChecked>()?;
    module.add_function(wrap_pyfunction!(view_at, module)?)?;
    module.add_function(wrap_pyfunction!(node_states, module)?)?;
    module.add_function(wrap_pyfunction!(query_history, module)?)?;
    module.add_function(wrap_pyfunction!(history_header, module)?)?;
    module.add_function(wrap_pyfunction!(check_history, module)?)
}
