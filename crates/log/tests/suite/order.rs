//! On the real disk, through a recorder: each acknowledgement comes after the sync that covers it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use apex_log::{Disk, DiskFile, Lock, Log, Options, RealDisk};

use super::common::{Folder, PATIENCE, batch};

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Bytes of the file with this number, up to this offset.
    Write(usize, u64, Vec<u8>),
    SyncBegins(usize),
    SyncEnds(usize),
    Acknowledged(u64),
}

#[derive(Clone, Default)]
struct Recorder {
    steps: Arc<Mutex<Vec<Step>>>,
    files: Arc<Mutex<usize>>,
}

struct RecordedFile {
    inner: Arc<dyn DiskFile>,
    number: usize,
    recorder: Recorder,
}

impl Recorder {
    fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    fn wrap(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let mut files = self.files.lock().unwrap();
        *files += 1;
        Arc::new(RecordedFile { inner, number: *files, recorder: self.clone() })
    }
}

impl Disk for Recorder {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.open(path)?))
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.open_to_read(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock> {
        RealDisk.lock(path, owner)
    }
}

impl DiskFile for RecordedFile {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.preallocate(bytes)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)?;
        self.recorder.note(Step::Write(self.number, offset, bytes.to_vec()));
        Ok(())
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(into, offset)
    }
    fn fdatasync(&self) -> io::Result<()> {
        self.recorder.note(Step::SyncBegins(self.number));
        self.inner.fdatasync()?;
        self.recorder.note(Step::SyncEnds(self.number));
        Ok(())
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.inner.truncate(bytes)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn an_fdatasync_of_the_bytes_ends_before_each_acknowledgement() {
    let folder = Folder::new("order");
    let recorder = Recorder::default();
    // Small segments, so that changes of segment are in the trace too.
    let options = Options { segment_bytes: 1 << 16, first_segment_bytes: 1 << 14, ..super::common::small() };
    let (log, _) = Log::open(&folder.0, Arc::new(recorder.clone()), options).unwrap();
    let marker = |position: u64| format!("<record {position}>").into_bytes();
    std::thread::scope(|scope| {
        // Sees acknowledgements as they come, whatever the appender does.
        scope.spawn(|| {
            let mut durable = 0;
            while durable < 600 {
                durable = log.wait_durable(durable + 1, PATIENCE).unwrap();
                recorder.note(Step::Acknowledged(durable));
            }
        });
        for position in 0..600 {
            let body = [marker(position), vec![b'.'; 100]].concat();
            let end = log.append(batch(&[body]).0, 1, position).unwrap();
            if position % 3 == 0 {
                log.wait_durable(end, PATIENCE).unwrap();
            }
        }
    });
    log.close().unwrap();
    assert!(log.stats().segments >= 2);

    let steps = recorder.steps.lock().unwrap().clone();
    let at = |wanted: &dyn Fn(&Step) -> bool, from: usize| steps[from..].iter().position(wanted).map(|at| at + from);
    for position in 0..600 {
        let written = |step: &Step| matches!(step, Step::Write(_, _, bytes) if contains(bytes, &marker(position)));
        let written_at = at(&written, 0).unwrap();
        let Step::Write(file, _, _) = steps[written_at] else { unreachable!() };
        let begins = at(&|step| *step == Step::SyncBegins(file), written_at).unwrap();
        let ends = at(&|step| *step == Step::SyncEnds(file), begins).unwrap();
        let acknowledged = at(&|step| matches!(step, Step::Acknowledged(durable) if *durable > position), 0).unwrap();
        assert!(ends < acknowledged, "record {position}: sync ended at step {ends}, acknowledged at {acknowledged}");
    }
}
