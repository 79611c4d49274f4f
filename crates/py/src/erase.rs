//! Erasure, and what is there for nobody any more, in a log that nobody serves.

use crate::commands::parse_run_id;
use crate::errors;
use crate::log::keys_of;
use apex_log::{Depth, Disk, Erasure, LogError, MasterKeys, RealDisk, View};
use apex_machine::{RunId, erasure};
use pyo3::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

/// (records, archives made anew, blobs).
#[pyfunction]
#[pyo3(signature = (path, blobs, below, tenant, run_id = None, key_file = None))]
fn erase_log(
    py: Python<'_>,
    path: &str,
    blobs: &str,
    below: u64,
    tenant: &str,
    run_id: Option<&str>,
    key_file: Option<&str>,
) -> PyResult<(u64, u64, u64)> {
    let run = run_id.map(parse_run_id).transpose()?;
    let erased = py.detach(|| {
        let keys = keys_of(key_file)?;
        let runs = run.map(|run| family(Path::new(path), run, &keys)).transpose()?;
        let is_meant = |body: &[u8]| erasure::goes(body, tenant, runs.as_ref());
        let blobs_of = runs.is_none().then_some(tenant);
        let erasure = Erasure { below, is_meant: &is_meant, blobs_of };
        apex_log::erase(Path::new(path), Path::new(blobs), &RealDisk, &keys, &erasure)
    });
    erased.map(|erased| (erased.records, erased.archives, erased.blobs)).map_err(|e| errors::log(&e))
}

/// How many records that would erase; changes nothing.
#[pyfunction]
#[pyo3(signature = (path, tenant, run_id = None, key_file = None))]
fn count_erasable(
    py: Python<'_>,
    path: &str,
    tenant: &str,
    run_id: Option<&str>,
    key_file: Option<&str>,
) -> PyResult<u64> {
    let run = run_id.map(parse_run_id).transpose()?;
    let found = py.detach(|| {
        let keys = keys_of(key_file)?;
        let runs = run.map(|run| family(Path::new(path), run, &keys)).transpose()?;
        let is_meant = |body: &[u8]| erasure::goes(body, tenant, runs.as_ref());
        apex_log::count_erasable(Path::new(path), &RealDisk, &keys, &is_meant)
    });
    found.map_err(|e| errors::log(&e))
}

/// A run and those that ran for it, at any depth, as the records say.
fn family(path: &Path, root: RunId, keys: &MasterKeys) -> Result<BTreeSet<RunId>, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let view = View::open(path, &disk, Depth::Opening, keys)?;
    let mut children: BTreeMap<RunId, Vec<RunId>> = BTreeMap::new();
    for record in view.scan(view.start) {
        if let Some((child, parent)) = erasure::child_and_parent(&record?.1) {
            children.entry(parent).or_default().push(child);
        }
    }
    let (mut found, mut ahead) = (BTreeSet::from([root]), vec![root]);
    while let Some(run) = ahead.pop() {
        for child in children.remove(&run).unwrap_or_default() {
            found.insert(child);
            ahead.push(child);
        }
    }
    Ok(found)
}

/// (blobs, bytes of them, data keys) that went. `old`: names of the files of blobs that may go.
#[pyfunction]
#[pyo3(signature = (path, blobs, old, key_file = None))]
fn sweep_log(
    py: Python<'_>,
    path: &str,
    blobs: &str,
    old: HashSet<String>,
    key_file: Option<&str>,
) -> PyResult<(u64, u64, u64)> {
    let swept = py.detach(|| {
        let is_old = |name: &str| old.contains(name);
        apex_log::sweep(Path::new(path), Path::new(blobs), &RealDisk, &keys_of(key_file)?, &is_old)
    });
    swept.map(|swept| (swept.blobs, swept.bytes, swept.keys)).map_err(|e| errors::log(&e))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(count_erasable, module)?)?;
    module.add_function(wrap_pyfunction!(erase_log, module)?)?;
    module.add_function(wrap_pyfunction!(sweep_log, module)?)
}
