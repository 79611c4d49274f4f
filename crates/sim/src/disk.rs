//! The log's faulty disk, without races: the log prepares its next segment in a thread of its own, and where that thread
//! happens to stand would decide which change a fault hits. Here that file is made only when its first group is written,
//! by the thread that writes it, so a seed gives the same changes in the same order.

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Disk, DiskFile, Lock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the log names the file that will be its next segment.
const NEXT: &str = "next.new";

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    faulty: FaultyDisk,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk { faulty: FaultyDisk::new(seed) }
    }

    pub(crate) fn plan(&self, faults: Faults) {
        self.faulty.plan(faults);
    }

    /// Power off and on again.
    pub(crate) fn crash(&self) {
        self.faulty.crash();
    }

    /// Every process that has the disk is cut off from it; nothing is lost.
    pub(crate) fn kill(&self) {
        self.faulty.kill();
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.faulty.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.faulty.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if !path.ends_with(NEXT) {
            return self.faulty.create(path);
        }
        let file = Next { disk: self.faulty.clone(), path: path.to_path_buf(), size: 0, file: None };
        Ok(Arc::new(NextFile(Mutex::new(file))))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faulty.open(path)
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faulty.open_to_read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faulty.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        // A blank that was never used was never made.
        if path.ends_with(NEXT) { Ok(()) } else { self.faulty.remove(path) }
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faulty.sync_dir(dir)
    }
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock> {
        self.faulty.lock(path, owner)
    }
}

/// A file of zeros until something else is written.
struct Next {
    disk: FaultyDisk,
    path: PathBuf,
    size: u64,
    file: Option<Arc<dyn DiskFile>>,
}

struct NextFile(Mutex<Next>);

impl NextFile {
    fn next(&self) -> MutexGuard<'_, Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> Option<Arc<dyn DiskFile>> {
        self.next().file.clone()
    }

    fn make(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut next = self.next();
        if let Some(file) = &next.file {
            return Ok(Arc::clone(file));
        }
        let file = next.disk.create(&next.path)?;
        file.preallocate(next.size)?;
        file.fdatasync()?;
        next.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl DiskFile for NextFile {
    fn size(&self) -> io::Result<u64> {
        self.made().map_or_else(|| Ok(self.next().size), |file| file.size())
    }
    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        match self.made() {
            Some(file) => file.preallocate(bytes),
            None => {
                let mut next = self.next();
                next.size = next.size.max(bytes);
                Ok(())
            }
        }
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.made().is_none() && bytes.iter().all(|&byte| byte == 0) {
            return self.preallocate(offset + bytes.len() as u64);
        }
        self.make()?.write_at(bytes, offset)
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.make()?.read_at(into, offset)
    }
    fn fdatasync(&self) -> io::Result<()> {
        self.made().map_or(Ok(()), |file| file.fdatasync())
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.make()?.truncate(bytes)
    }
}
