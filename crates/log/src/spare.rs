//! The next segment, made before it is needed: space reserved, zeros written and synced, so that a later `fdatasync`
//! has no metadata to write and no group waits for zeros.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::disk::{Disk, DiskFile};
use crate::error::LogError;

pub(crate) const NAME: &str = "next.new";
const CHUNK_BYTES: usize = 1 << 20;
/// Syncing now and then keeps the one sync at the end, and the group that meets it, short.
const CHUNKS_PER_SYNC: u64 = 4;

/// A file of zeros.
pub(crate) struct Blank {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) size: u64,
}

/// Makes a file of `size` bytes; where the disk is full, half of that, and so on down to `size_min`.
pub(crate) fn make(
    disk: &dyn Disk,
    path: &Path,
    size: u64,
    size_min: u64,
    stop: &AtomicBool,
) -> Result<Blank, LogError> {
    let mut size = size.max(size_min);
    loop {
        match fill(disk, path, size, stop) {
            Err(error) if error.is_out_of_space() && size / 2 >= size_min => size /= 2,
            Err(error) => {
                // Gives the space back; what stays is removed at the next open.
                let _ = disk.remove(path);
                return Err(error);
            }
            Ok(file) => return Ok(Blank { file, size }),
        }
    }
}

fn fill(disk: &dyn Disk, path: &Path, size: u64, stop: &AtomicBool) -> Result<Arc<dyn DiskFile>, LogError> {
    let file = disk.create(path).map_err(|error| LogError::io("create", path, &error))?;
    file.preallocate(size).map_err(|error| LogError::io("preallocate", path, &error))?;
    let sync = || file.fdatasync().map_err(|error| LogError::io("fdatasync", path, &error));
    let zeros = vec![0; CHUNK_BYTES.min(size as usize)];
    let (mut offset, mut chunks) = (0, 0);
    while offset < size && !stop.load(Ordering::Relaxed) {
        let length = zeros.len().min((size - offset) as usize);
        file.write_at(&zeros[..length], offset).map_err(|error| LogError::io("write", path, &error))?;
        offset += length as u64;
        chunks += 1;
        if chunks % CHUNKS_PER_SYNC == 0 {
            sync()?;
        }
    }
    sync()?;
    Ok(file)
}

/// A blank that a thread of its own is making.
pub(crate) struct Spare {
    thread: Option<JoinHandle<Result<Blank, LogError>>>,
    stop: Arc<AtomicBool>,
}

impl Spare {
    /// `None` where the system gives no thread: the blank is then made when it is needed.
    pub(crate) fn start(disk: Arc<dyn Disk>, path: PathBuf, size: u64, size_min: u64) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let work = move || make(disk.as_ref(), &path, size, size_min, &seen);
        let thread = thread::Builder::new().name("apex-log-spare".into()).spawn(work).ok()?;
        Some(Spare { thread: Some(thread), stop })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits for it.
    pub(crate) fn join(mut self) -> Result<Blank, LogError> {
        let panicked = || LogError::Invalid("the thread that prepares segments panicked".into());
        self.thread.take().ok_or_else(panicked)?.join().map_err(|_| panicked())?
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody needs the blank any more, so neither its error.
            let _ = thread.join();
        }
    }
}
