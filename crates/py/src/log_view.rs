//! The log as a visitor sees it, and the verdict on all of it.

use crate::errors;
use crate::log::keys_of;
use apex_log::{Damage, Depth, Disk, LogError, RealDisk, View};
use apex_machine::{Header, record};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Runs whose last hash is in hand; over it the hash is read from the record before.
const RUNS_IN_HAND_MAX: usize = 1_000_000;

#[pyclass(frozen, module = "apex_fast.core._core")]
struct LogView(View);

#[pymethods]
impl LogView {
    #[staticmethod]
    #[pyo3(signature = (path, key_file = None))]
    fn open(py: Python<'_>, path: &str, key_file: Option<&str>) -> PyResult<Self> {
        py.detach(|| look(path, Depth::Opening, key_file)).map(Self).map_err(|e| errors::log(&e))
    }
    #[getter]
    fn position(&self) -> u64 {
        self.0.position
    }
    #[getter]
    fn start(&self) -> u64 {
        self.0.start
    }
    #[getter]
    fn term(&self) -> u64 {
        self.0.term
    }
    #[getter]
    fn unfinished(&self) -> Option<String> {
        unfinished(&self.0)
    }
    #[getter]
    fn snapshot<'py>(&self, py: Python<'py>) -> Option<(u64, Bound<'py, PyBytes>)> {
        self.0.snapshot.as_ref().map(|(position, bytes)| (*position, PyBytes::new(py, bytes)))
    }
    #[getter]
    fn chain(&self) -> String {
        hex(&self.0.chain)
    }
    /// (name, bytes that count, whether it never changes any more), oldest first.
    fn files(&self, py: Python<'_>) -> PyResult<Vec<(String, u64, bool)>> {
        let parts = py.detach(|| self.0.parts()).map_err(|e| errors::log(&e))?;
        Ok(parts.into_iter().map(|part| (part.name, part.bytes, part.is_sealed)).collect())
    }
    fn scan<'py>(&self, py: Python<'py>, start: u64, bytes_max: usize) -> PyResult<(Bound<'py, PyBytes>, u32)> {
        let batch = py.detach(|| self.0.scan(start).next_batch(bytes_max)).map_err(|e| errors::log(&e))?;
        Ok(match batch {
            Some(batch) => (PyBytes::new(py, &batch.bytes), batch.count),
            None => (PyBytes::new(py, b""), 0),
        })
    }
}

/// What a look at every byte came to.
#[pyclass(frozen, get_all, module = "apex_fast.core._core")]
struct LogVerdict {
    position: u64,
    start: u64,
    term: u64,
    /// Hash of the last group, hex.
    chain: String,
    files: usize,
    bytes: u64,
    unfinished: Option<String>,
    damaged_snapshots: Vec<String>,
    /// (file, byte offset, position, reason) of the first record that cannot be trusted.
    damage: Option<(String, u64, u64, String)>,
}

#[pyfunction]
#[pyo3(signature = (path, key_file = None))]
fn verify_log(py: Python<'_>, path: &str, key_file: Option<&str>) -> PyResult<LogVerdict> {
    py.detach(|| verify(path, key_file)).map_err(|e| errors::log(&e))
}

fn verify(path: &str, key_file: Option<&str>) -> Result<LogVerdict, LogError> {
    let damaged = |damage: Damage| LogVerdict {
        position: damage.position,
        start: 0,
        term: 0,
        chain: String::new(),
        files: 0,
        bytes: 0,
        unfinished: None,
        damaged_snapshots: Vec::new(),
        damage: Some((damage.segment, damage.offset, damage.position, damage.reason)),
    };
    let view = match look(path, Depth::Everything, key_file) {
        Err(LogError::Damage(damage)) => return Ok(damaged(damage)),
        outcome => outcome?,
    };
    let broken = match check_runs(&view) {
        Err(LogError::Damage(damage)) => Some(damage),
        outcome => outcome.map(|()| None)?,
    };
    let parts = view.parts()?;
    Ok(LogVerdict {
        position: view.position,
        start: view.start,
        term: view.term,
        chain: hex(&view.chain),
        files: parts.len(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        unfinished: unfinished(&view),
        damaged_snapshots: view.damaged_snapshots.iter().map(ToString::to_string).collect(),
        damage: broken.map(|damage| (damage.segment, damage.offset, damage.position, damage.reason)),
    })
}

fn look(path: &str, depth: Depth, key_file: Option<&str>) -> Result<View, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    View::open(Path::new(path), &disk, depth, &keys_of(key_file)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unfinished(view: &View) -> Option<String> {
    let cut = view.unfinished.as_ref()?;
    Some(format!("{} bytes at byte {} of {}", cut.bytes, cut.offset, cut.segment))
}

/// The last record of a run.
struct Last {
    position: u64,
    offset: u64,
    hash: [u8; record::HASH],
}

/// Every run's chain of hashes (docs/decisions/0001), which the log itself knows nothing of.
fn check_runs(view: &View) -> Result<(), LogError> {
    // By partition and run.
    let mut last: HashMap<(u16, [u8; 16]), Last> = HashMap::new();
    for found in view.scan(view.start) {
        let (position, body) = found?;
        // It was erased: that it is what was written, the chain of the groups says.
        if body.is_empty() {
            continue;
        }
        let broken = |reason: String| {
            let (segment, offset) = view.place(position)?;
            Err(LogError::Damage(Damage { segment, offset, position, reason }))
        };
        let header = match Header::parse(&body) {
            Ok(header) => header,
            Err(error) => return broken(error.to_string()),
        };
        let key = (header.partition, header.run_id.0);
        let before = match last.get(&key) {
            Some(last) if last.position == header.run_prev => Some((last.offset, last.hash)),
            _ if header.run_prev == record::NONE || header.run_prev < view.start => None,
            _ => match view.read(header.run_prev)?.as_deref().map(|body| (Header::parse(body), body)) {
                Some((_, [])) => None,
                Some((Ok(header), body)) => record::stored_hash(body).ok().map(|hash| (header.run_seq, hash)),
                _ => return broken(format!("the record before it in its run, {}, is not there", header.run_prev)),
            },
        };
        let (offset, hash) = before.map_or((0, [0; record::HASH]), |(offset, hash)| (offset + 1, hash));
        let hash = if before.is_none() && header.run_prev != record::NONE {
            // What it continues was trimmed or erased: it is the first link that there is.
            record::stored_hash(&body)
        } else if header.run_seq != offset {
            return broken(format!("it is number {} of its run, where {offset} was expected", header.run_seq));
        } else {
            record::verify_chain(&hash, &body)
        };
        match hash {
            Ok(hash) if last.len() < RUNS_IN_HAND_MAX || last.contains_key(&key) => {
                last.insert(key, Last { position, offset: header.run_seq, hash });
            }
            Ok(hash) => {
                last.clear();
                last.insert(key, Last { position, offset: header.run_seq, hash });
            }
            Err(_) => return broken("its hash does not continue the chain of its run".to_owned()),
        }
    }
    Ok(())
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LogView>()?;
    module.add_class::<LogVerdict>()?;
    module.add_function(wrap_pyfunction!(verify_log, module)?)
}
