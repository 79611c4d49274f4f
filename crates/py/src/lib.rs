//! The door: the only crate that names pyo3.
//!
//! Holds the classes and functions of `apex_fast.core._core` (described by `_core.pyi`, held to it by stubtest).
//! Converts, releases the GIL, maps errors (`errors.rs`, one file); decides nothing. Rust never calls Python: a durable
//! group or a batch of requests rings an eventfd, and the loop comes for it.

mod blobs;
mod commands;
mod definition;
mod erase;
mod errors;
mod event;
mod front;
mod history;
mod jobs;
mod log;
mod log_view;
mod machine;
mod patches;
mod recall;
mod views;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("DESCRIPTOR_SET", PyBytes::new(py, apex_front::DESCRIPTOR_SET))?;
    definition::register(module)?;
    commands::register(module)?;
    patches::register(module)?;
    jobs::register(module)?;
    machine::register(module)?;
    views::register(module)?;
    event::register(module)?;
    history::register(module)?;
    log::register(module)?;
    blobs::register(module)?;
    log_view::register(module)?;
    erase::register(module)?;
    front::register(module)?;
    recall::register(module)
}
