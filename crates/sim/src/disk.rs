//! The log's faulty disk, without races: the log prepares its next segment in a thread of its own, and where that thread
//! happens to stand would decide which change a fault hits. Here that file is made only when its first group is written,
//! by the thread that writes it, so a seed gives the same changes in the same order. A disk that is full takes no new
//! file, one that is slow holds every sync back until it is told to go on.

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Disk, DiskFile, Lock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What the log names the file that will be its next segment.
const NEXT: &str = "next.new";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How the disk is today.
#[derive(Default)]
struct Mood {
    is_full: bool,
    is_slow: bool,
    /// Syncs that are held back.
    held: usize,
    /// Of the processes that have it; those before are dead.
    boot: u64,
}

/// The disk, as one process has it. Clones are the same disk, of the same process.
#[derive(Clone)]
pub(crate) struct SimDisk {
    faulty: FaultyDisk,
    mood: Arc<(Mutex<Mood>, Condvar)>,
    boot: u64,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk { faulty: FaultyDisk::new(seed), mood: Arc::default(), boot: 0 }
    }

    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood());
        self.mood.1.notify_all();
    }

    /// As the next process has it.
    pub(crate) fn of_next_process(&self) -> SimDisk {
        SimDisk { boot: self.mood().boot, ..self.clone() }
    }

    pub(crate) fn plan(&self, faults: Faults) {
        self.faulty.plan(faults);
    }

    /// No file is made, and none grows.
    pub(crate) fn fill_up(&self) {
        self.change(|mood| mood.is_full = true);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.mood().is_full
    }

    /// Every sync waits until the disk is well.
    pub(crate) fn slow_down(&self) {
        self.change(|mood| mood.is_slow = true);
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.mood().is_slow
    }

    /// Whether a sync is held back.
    pub(crate) fn holds_sync(&self) -> bool {
        self.mood().held > 0
    }

    /// There is room, and syncs go on.
    pub(crate) fn be_well(&self) {
        self.change(|mood| (mood.is_full, mood.is_slow) = (false, false));
    }

    /// Power off and on again.
    pub(crate) fn crash(&self) {
        self.faulty.crash();
        self.end_processes();
    }

    /// Every process that has the disk is cut off from it; nothing is lost.
    pub(crate) fn kill(&self) {
        self.faulty.kill();
        self.end_processes();
    }

    /// Threads of a dead process do nothing more; what stands in the way of the next one stays.
    fn end_processes(&self) {
        self.change(|mood| {
            mood.boot += 1;
            (mood.is_slow, mood.held) = (false, 0);
        });
    }

    /// Whether something new may be made by this process.
    fn has_room(&self) -> io::Result<()> {
        let mood = self.mood();
        match () {
            () if mood.boot != self.boot => Err(io::Error::from_raw_os_error(EIO)),
            () if mood.is_full => Err(io::Error::from_raw_os_error(ENOSPC)),
            () => Ok(()),
        }
    }

    /// A sync is held back while the disk is slow.
    fn wait(&self) {
        let mut mood = self.mood();
        if mood.boot != self.boot {
            return;
        }
        mood.held += 1;
        let waits = |mood: &mut Mood| mood.is_slow && mood.boot == self.boot;
        let woken = self.mood.1.wait_while(mood, waits);
        mood = woken.unwrap_or_else(PoisonError::into_inner);
        if mood.boot == self.boot {
            mood.held -= 1;
        }
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
        self.has_room()?;
        if !path.ends_with(NEXT) {
            return self.faulty.create(path);
        }
        let file = Next { disk: self.clone(), path: path.to_path_buf(), size: 0, file: None };
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
    disk: SimDisk,
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
        // Its place was kept when it was asked for: a disk that is full now has it still.
        let file = next.disk.faulty.create(&next.path)?;
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
                next.disk.has_room()?;
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
        let Some(file) = self.made() else { return Ok(()) };
        let disk = self.next().disk.clone();
        disk.wait();
        file.fdatasync()
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.make()?.truncate(bytes)
    }
}
