//! Every error of the core as the Python exception it becomes. The classes live in `apex_fast.core.faults`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static CORE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static COMPILE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static LOG: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static FRONT: PyOnceLock<Py<PyType>> = PyOnceLock::new();

const FAULTS: &str = "apex_fast.core.faults";

fn raise(
    place: &'static PyOnceLock<Py<PyType>>,
    class: &str,
    arguments: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>,
) -> PyErr {
    Python::attach(|py| {
        let made = place.import(py, FAULTS, class).and_then(|class| {
            let arguments = arguments(py)?;
            class.call1(arguments.bind(py).cast::<pyo3::types::PyTuple>()?.clone())
        });
        match made {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    })
}

fn pair(code: &str, message: &str) -> impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> {
    move |py| Ok((code, message).into_pyobject(py)?.into_any().unbind())
}

/// A `CoreError`.
pub(crate) fn core(code: &str, message: &str) -> PyErr {
    raise(&CORE, "CoreError", pair(code, message))
}

/// A `CompileError` with its diagnostics.
pub(crate) fn compile(diagnostics: Vec<apex_ir::Diagnostic>) -> PyErr {
    let first = diagnostics.first().map_or_else(String::new, |d| format!("{} ({})", d.message, d.pointer));
    let message = match diagnostics.len() {
        0 | 1 => first,
        n => format!("{first}, and {} more", n - 1),
    };
    raise(&COMPILE, "CompileError", move |py| {
        let list: Vec<_> = diagnostics.into_iter().map(crate::definition::Diagnostic::from).collect();
        Ok((message, list).into_pyobject(py)?.into_any().unbind())
    })
}

/// A `LogError`.
pub(crate) fn log(error: &apex_log::LogError) -> PyErr {
    use apex_log::LogError as E;
    let code = match error {
        E::Locked { .. } => "LOCKED",
        E::Damage(_) => "DAMAGED",
        E::Conflict { .. } => "CONFLICT",
        E::Poisoned(_) | E::Closed => "POISONED",
        E::QueueFull { .. } => "QUEUE_FULL",
        E::TooLarge { .. } => "TOO_LARGE",
        E::Quota { .. } => "QUOTA",
        E::Invalid(_) => "INVALID",
        E::Trimmed { .. } => "TRIMMED",
        E::Key(_) => "KEY",
        _ if error.is_out_of_space() => "FULL",
        E::Io { kind, .. }
            if *kind == std::io::ErrorKind::ReadOnlyFilesystem || *kind == std::io::ErrorKind::PermissionDenied =>
        {
            "READ_ONLY"
        }
        _ => "IO",
    };
    raise(&LOG, "LogError", pair(code, &error.to_string()))
}

/// A `FrontError`.
pub(crate) fn front(error: &apex_front::FrontError) -> PyErr {
    let code = if matches!(error, apex_front::FrontError::PortInUse(_)) { "PORT_IN_USE" } else { "IO" };
    raise(&FRONT, "FrontError", pair(code, &error.to_string()))
}
