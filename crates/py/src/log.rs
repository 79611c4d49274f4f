//! The embedded log.

use crate::blobs::Blobs;
use crate::errors;
use crate::event::Event;
use crate::machine::Turn;
use apex_log::{LogError, MasterKeys, Options, RealDisk, Space};
use apex_machine::{Header, RunId};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[pyclass(frozen, module = "apex_fast.core._core")]
struct Log {
    log: apex_log::Log,
    recovered: apex_log::Recovered,
    marks: Mutex<Marks>,
}

/// Where some records of long runs stand. A timeline is read backwards, so a page far from the end would else walk over
/// all that came after it.
#[derive(Default)]
struct Marks {
    /// By run: (offset, position), newest first.
    runs: HashMap<RunId, Vec<(u64, u64)>>,
    /// By position: run and offset of a last record that was passed over. It may be as large as all outputs together, and
    /// each page begins there.
    heads: HashMap<u64, (RunId, u64)>,
}

/// Records between two marks of a run.
const MARK_EVERY: u64 = 512;
/// Runs with marks, and heads; over it they are found anew.
const MARKED_RUNS_MAX: usize = 1_024;

#[pymethods]
impl Log {
    #[staticmethod]
    #[pyo3(signature = (path, segment_bytes = None, archive_after_segments = None, key_file = None))]
    fn open(
        py: Python<'_>,
        path: &str,
        segment_bytes: Option<u64>,
        archive_after_segments: Option<u64>,
        key_file: Option<&str>,
    ) -> PyResult<Self> {
        // What the machine may decide, the log must take: a record that it refused would stop the house.
        let limits = apex_machine::Limits::default();
        let mut options = Options { record_bytes_max: limits.record_bytes_max as u64, ..Options::default() };
        if let Some(bytes) = segment_bytes {
            options.segment_bytes = bytes;
            options.first_segment_bytes = options.first_segment_bytes.min(bytes);
        }
        if let Some(count) = archive_after_segments {
            options.archive_after_segments = count;
        }
        options.keys = keys_of(key_file).map_err(|e| errors::log(&e))?;
        py.detach(|| apex_log::Log::open(Path::new(path), Arc::new(RealDisk), options))
            .map(|(log, recovered)| Self { log, recovered, marks: Mutex::default() })
            .map_err(|e| errors::log(&e))
    }
    #[getter]
    fn position(&self) -> u64 {
        self.recovered.position
    }
    #[getter]
    fn term(&self) -> u64 {
        self.recovered.term
    }
    #[getter]
    fn cut(&self) -> Option<String> {
        self.recovered
            .cut
            .as_ref()
            .map(|cut| format!("{} bytes of a torn last group at byte {} of {}", cut.bytes, cut.offset, cut.segment))
    }
    #[getter]
    fn damaged_snapshots(&self) -> Vec<String> {
        self.recovered.damaged_snapshots.iter().map(ToString::to_string).collect()
    }
    #[getter]
    fn snapshot<'py>(&self, py: Python<'py>) -> Option<(u64, Bound<'py, PyBytes>)> {
        self.recovered.snapshot.as_ref().map(|(position, bytes)| (*position, PyBytes::new(py, bytes)))
    }
    fn fileno(&self) -> i32 {
        self.log.wake_fd()
    }
    fn rearm(&self) -> PyResult<u64> {
        let durable = self.log.rearm();
        match self.log.failure() {
            Some(error) => Err(errors::log(&LogError::Poisoned(Box::new(error)))),
            None => Ok(durable),
        }
    }
    fn append(&self, turn: &Bound<'_, Turn>) -> PyResult<u64> {
        let turn = &turn.get().0;
        self.log
            .append(turn.records.clone(), turn.count, turn.position - u64::from(turn.count))
            .map_err(|e| errors::log(&e))
    }
    fn durable(&self) -> u64 {
        self.log.durable()
    }
    /// `ample`, `low` or `out`.
    fn space(&self) -> &'static str {
        match self.log.space() {
            Space::Ample => "ample",
            Space::Low => "low",
            Space::Out => "out",
        }
    }
    fn wait_durable(&self, py: Python<'_>, position: u64, timeout_s: f64) -> PyResult<u64> {
        py.detach(|| self.log.wait_durable(position, Duration::from_secs_f64(timeout_s.clamp(0.0, 86_400.0))))
            .map_err(|e| errors::log(&e))
    }
    fn read<'py>(&self, py: Python<'py>, position: u64) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let body = self.log.read(position).map_err(|e| errors::log(&e))?;
        Ok(body.map(|body| PyBytes::new(py, &body)))
    }
    fn scan<'py>(&self, py: Python<'py>, start: u64, bytes_max: usize) -> PyResult<(Bound<'py, PyBytes>, u32)> {
        let batch = py.detach(|| self.log.scan(start).next_batch(bytes_max)).map_err(|e| errors::log(&e))?;
        Ok(match batch {
            Some(batch) => (PyBytes::new(py, &batch.bytes), batch.count),
            None => (PyBytes::new(py, b""), 0),
        })
    }
    /// The events of one run from `from_offset` on, found backwards from its last one.
    fn timeline(&self, py: Python<'_>, head: u64, from_offset: u64, limit: usize) -> PyResult<Vec<Event>> {
        let bodies = py.detach(|| self.walk(head, from_offset, limit)).map_err(|e| errors::log(&e))?;
        bodies.iter().map(|(position, body)| Event::read(*position, body)).collect()
    }
    fn save_snapshot(&self, py: Python<'_>, position: u64, snapshot: &[u8]) -> PyResult<()> {
        py.detach(|| self.log.save_snapshot(position, snapshot)).map_err(|e| errors::log(&e))
    }
    /// Forgets whole segments whose records were all decided before a time; the first position that is kept.
    fn trim(&self, py: Python<'_>, before_ns: i64) -> PyResult<u64> {
        py.detach(|| self.trim_before(before_ns)).map_err(|e| errors::log(&e))
    }
    fn open_blobs(&self, py: Python<'_>, path: &str, quota_bytes: u64) -> PyResult<Blobs> {
        py.detach(|| self.log.open_blobs(Path::new(path), quota_bytes)).map(Blobs).map_err(|e| errors::log(&e))
    }
    fn wait_archived(&self, py: Python<'_>, timeout_s: f64) -> bool {
        py.detach(|| self.log.wait_archived(Duration::from_secs_f64(timeout_s.clamp(0.0, 86_400.0))))
    }
    fn stats(&self) -> BTreeMap<&'static str, u64> {
        let s = self.log.stats();
        BTreeMap::from([
            ("groups", s.groups),
            ("syncs", s.syncs),
            ("bytes", s.bytes),
            ("records", s.records),
            ("segments", s.segments),
            ("archives", s.archives),
            ("archive_failures", s.archive_failures),
            ("queue_bytes", s.queue_bytes),
            ("fsync_p50_ns", s.fsync_p50_ns),
            ("fsync_p99_ns", s.fsync_p99_ns),
        ])
    }
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.log.close()).map_err(|e| errors::log(&e))
    }
}

impl Log {
    fn trim_before(&self, before_ns: i64) -> Result<u64, LogError> {
        let mut upto = 0;
        for end in self.log.cuts() {
            // The last record of a segment that was not erased is its newest; where all were, it is as old as those before.
            let newest = self.newest_between(upto, end)?;
            let is_old = newest.is_none_or(|body| Header::parse(&body).is_ok_and(|found| found.time_ns < before_ns));
            if !is_old {
                break;
            }
            upto = end;
        }
        self.log.trim(upto)
    }

    fn newest_between(&self, from: u64, to: u64) -> Result<Option<Vec<u8>>, LogError> {
        for position in (from..to).rev() {
            match self.log.read(position) {
                Ok(Some(body)) if body.is_empty() => {}
                // What was trimmed before is old.
                Err(LogError::Trimmed { .. }) => break,
                found => return found,
            }
        }
        Ok(None)
    }

    fn walk(&self, head: u64, from_offset: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        let mut found = std::collections::VecDeque::new();
        let mut passed = Vec::new();
        let end = from_offset.saturating_add(limit as u64);
        let (mut run, mut position) = match self.marks().skip(head, end) {
            Some((run, position)) => (Some(run), position),
            None => (None, head),
        };
        while let Some(body) = self.log.read(position)? {
            let Ok(header) = Header::parse(&body) else { break };
            if header.run_seq < from_offset {
                break;
            }
            if run.is_none() {
                run = Some(header.run_id);
                if let Some(mark) = self.marks().pass(head, header.run_id, header.run_seq, end) {
                    position = mark;
                    continue;
                }
            }
            if header.run_seq % MARK_EVERY == 0 {
                passed.push((header.run_seq, position));
            }
            let previous = header.run_prev;
            found.push_front((position, body));
            if found.len() > limit {
                found.pop_back();
            }
            if previous == apex_machine::record::NONE {
                break;
            }
            position = previous;
        }
        if let Some(run) = run {
            self.marks().keep(run, &passed);
        }
        Ok(found.into())
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    /// The lowest mark of a run at or after an offset, below `head`. What is read there is checked like any other.
    fn mark(&self, run: &RunId, from: u64, head: u64) -> Option<u64> {
        let marks = self.runs.get(run)?;
        let after = marks.partition_point(|mark| mark.0 >= from);
        marks.get(after.checked_sub(1)?).filter(|mark| mark.0 < head).map(|mark| mark.1)
    }

    /// Where a page that ends before the offset `end` may begin, for a head that was passed over before, and its run.
    fn skip(&self, head: u64, end: u64) -> Option<(RunId, u64)> {
        let (run, offset) = self.heads.get(&head)?;
        Some((*run, self.mark(run, end, *offset)?))
    }

    /// The same for a head that was read just now; it is remembered if it can be passed over.
    fn pass(&mut self, head: u64, run: RunId, offset: u64, end: u64) -> Option<u64> {
        let mark = self.mark(&run, end, offset)?;
        if self.heads.len() >= MARKED_RUNS_MAX {
            self.heads.clear();
        }
        self.heads.insert(head, (run, offset));
        Some(mark)
    }

    fn keep(&mut self, run: RunId, passed: &[(u64, u64)]) {
        if passed.is_empty() {
            return;
        }
        if self.runs.len() >= MARKED_RUNS_MAX && !self.runs.contains_key(&run) {
            self.runs.clear();
        }
        let kept = self.runs.entry(run).or_default();
        kept.extend_from_slice(passed);
        kept.sort_unstable_by(|a, b| b.cmp(a));
        kept.dedup();
    }
}

/// The keys in a file; none where none is named.
pub(crate) fn keys_of(file: Option<&str>) -> Result<MasterKeys, LogError> {
    let Some(path) = file else { return Ok(MasterKeys::default()) };
    let text = std::fs::read_to_string(path).map_err(|e| LogError::Key(format!("cannot read {path}: {e}")))?;
    MasterKeys::parse(&text).map_err(|error| LogError::Key(format!("{path}: {error}")))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Log>()
}
