//! The only seam for files: what the log asks of a disk.
//!
//! Holds: the two traits, the real disk, and (feature `faulty`) one in memory that fails on a seed.
//! May know: paths and bytes. Never: what the bytes mean. In: calls in the order of the log. Out: `io::Result`.

#[cfg(feature = "faulty")]
pub mod faulty;
mod real;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "faulty")]
pub use faulty::FaultyDisk;
pub use real::RealDisk;

use crate::error::LogError;

/// How names of files end that are not finished; at open they are removed.
pub(crate) const UNFINISHED: &str = ".new";

/// A disk. Promises, each of which the recovery stands on:
///
/// 1. What was written before `fdatasync` returned `Ok` is read back after a power loss.
/// 2. `rename` is atomic: the new name is the old file or the new one, never a mixture or nothing.
/// 3. Names made, changed or removed before `sync_dir` returned `Ok` stay so after a power loss.
/// 4. After an error of `fdatasync` nothing is known of what was written since the last good one.
pub trait Disk: Send + Sync + 'static {
    /// Makes the folder and those above it, durably; fine if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// File names in a folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A new empty file, in place of an old one of that name.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A file that is there, to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A file that is there and perhaps not ours, to read.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Promise 2.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Promise 3.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes an exclusive lock on a file, made if absent, and writes `owner` in it; does not wait.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock>;
}

/// The outcome of [`Disk::lock`].
pub enum Lock {
    /// Ours until this value is dropped or the process ends.
    Taken(Box<dyn Any + Send + Sync>),
    /// Somebody else's; what they wrote in it.
    Held(String),
}

/// An open file, shared by the writer and readers.
pub trait DiskFile: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reserves and extends to `bytes`, reading as zeros.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at most `into.len()` bytes; 0 at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Promise 1.
    fn fdatasync(&self) -> io::Result<()>;
    /// Cuts or extends to `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// Reads up to `bytes` from `offset` into `into`, which then holds what there was.
pub(crate) fn read_range(file: &dyn DiskFile, offset: u64, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.resize(bytes, 0);
    let mut have = 0;
    while have < bytes {
        match file.read_at(&mut into[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    into.truncate(have);
    Ok(())
}

/// Puts a small file in place at once or not at all, durably: write a new one, sync, rename, sync the folder.
pub(crate) fn replace_file(disk: &dyn Disk, dir: &Path, name: &str, parts: &[&[u8]]) -> Result<(), LogError> {
    let (fresh, path) = (dir.join(format!("{name}{UNFINISHED}")), dir.join(name));
    let write = || {
        let file = disk.create(&fresh).map_err(|error| LogError::io("create", &fresh, &error))?;
        let mut offset = 0;
        for part in parts {
            file.write_at(part, offset).map_err(|error| LogError::io("write", &fresh, &error))?;
            offset += part.len() as u64;
        }
        file.fdatasync().map_err(|error| LogError::io("fdatasync", &fresh, &error))?;
        disk.rename(&fresh, &path).map_err(|error| LogError::io("rename", &path, &error))?;
        disk.sync_dir(dir).map_err(|error| LogError::io("sync", dir, &error))
    };
    write().inspect_err(|_| {
        // Only tidiness: what is left under this name is removed at the next open.
        let _ = disk.remove(&fresh);
    })
}
