//! The log as its owner sees it.

use std::any::Any;
use std::collections::HashSet;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::archive::{self, Cache, Keeper, Shelf};
use crate::batch;
use crate::blobs::Blobs;
use crate::disk::{Disk, Lock, UNFINISHED};
use crate::error::{Damage, LogError};
use crate::floor::Floor;
use crate::index::Index;
use crate::meta::{self, Meta};
use crate::options::Options;
use crate::queue::{Pending, Queue, Space, unpoisoned};
use crate::recovery::{self, Cut, Found, Scope};
use crate::scan::{End, Scan};
use crate::seal::Keyring;
use crate::segment::{Block, Segment};
use crate::snapshot;
use crate::stats::{Meter, Stats};
use crate::writer::{Ground, Writer};

/// The value that holds the lock of the folder.
pub(crate) type FolderLock = Box<dyn Any + Send + Sync>;

const LOCK_NAME: &str = "lock";

/// What `open` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Number of records ever appended: the position of the next one.
    pub position: u64,
    /// The first position that can still be read.
    pub start: u64,
    /// The term of this ownership: one more than the last.
    pub term: u64,
    /// The newest snapshot that verifies: the position it stands at, and its bytes.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// A torn last group that was cut off.
    pub cut: Option<Cut>,
    /// Snapshots that were passed over because they do not verify.
    pub damaged_snapshots: Vec<Damage>,
}

/// An open log: one writer thread, any number of readers. Dropping it closes it.
///
/// A *position* is the number of records appended before one, from 0, without holes. Promises:
///
/// 1. What `durable` has passed survives `kill -9` and power loss.
/// 2. After a failed write or sync `durable` never moves again (poison).
/// 3. A batch is kept as a whole or not at all.
/// 4. No record is returned that was not appended, or before it is durable.
/// 5. One `Log` has the folder at a time; each has a higher term than the one before.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    queue: Arc<Queue>,
    index: Arc<Index>,
    meter: Arc<Meter>,
    thread: Mutex<Option<JoinHandle<()>>>,
    keeper: Keeper,
    keeping: Mutex<Keeping>,
    /// Held until the log is closed.
    lock: Mutex<Option<FolderLock>>,
}

/// What decides how much is kept.
struct Keeping {
    meta: Meta,
    /// Positions of the snapshots on disk, ascending.
    snapshots: Vec<u64>,
}

impl Log {
    /// Opens the log in `dir`, or makes one: takes the folder's lock, verifies all that no snapshot stands for (the rest
    /// is verified when it is read, and by [`crate::View`]), cuts a torn last group, raises the term, writes the tail that it believes into a new segment and syncs it, and only then returns.
    ///
    /// # Errors
    /// `Locked` with the holder's pid; `Key` where a key is missing; `Damage` with file, byte and position where stored bytes do not verify other than
    /// as a torn last group, or where durable records are missing; `Io`; `Invalid` options.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, options: Options) -> Result<(Log, Recovered), LogError> {
        options.check()?;
        disk.create_dir(dir).map_err(|error| LogError::io("create", dir, &error))?;
        let lock = take_lock(disk.as_ref(), dir)?;

        let mut names = disk.list(dir).map_err(|error| LogError::io("list", dir, &error))?;
        for name in names.extract_if(.., |name| name.ends_with(UNFINISHED)) {
            let path = dir.join(name);
            disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
        }
        let meta = Meta::load(disk.as_ref(), dir)?;
        if meta.is_none() && names.iter().any(|name| is_part(name)) {
            return Err(LogError::damage(meta::NAME, 0, 0, "it is missing, but there are segments"));
        }
        let mut meta = meta.unwrap_or_default();
        let mut keyring = Keyring::load(disk.as_ref(), dir, &options.keys)?;
        let floor = Floor::open(disk.as_ref(), dir)?;
        let snapshots = snapshot::find(disk.as_ref(), dir, &names, &keyring)?;
        let verify_from = snapshots.newest.as_ref().map_or(0, |(position, _)| *position);
        let cache = Arc::new(Cache::default());
        let scope =
            Scope { start: meta.start, verify_from, is_live: false, cache: Arc::clone(&cache), keyring: &keyring };
        let found = recovery::recover(disk.as_ref(), dir, &names, &scope)?;
        check_nothing_lost(&found, floor.position, &snapshots, meta.start)?;

        keyring.renew(disk.as_ref(), dir, &options.keys)?;
        let keyring = Arc::new(keyring);
        meta.term += 1;
        meta.save(disk.as_ref(), dir)?;
        let recovered = Recovered {
            position: found.position,
            start: meta.start,
            term: meta.term,
            snapshot: snapshots.newest,
            cut: found.cut.clone(),
            damaged_snapshots: snapshots.damage,
        };
        let queue = Queue::new(found.position).map_err(|error| LogError::io("eventfd", dir, &error))?;
        let index = Arc::new(Index::new(found.segments.clone(), Arc::clone(&keyring)));
        let after = options.archive_after_segments;
        let shelf =
            Shelf::new(Arc::clone(&disk), dir.to_path_buf(), Arc::clone(&index), cache, Arc::clone(&keyring), after);
        let log = Log {
            disk: Arc::clone(&disk),
            dir: dir.to_path_buf(),
            queue: Arc::new(queue),
            index,
            keeper: Keeper::start(Arc::new(shelf))?,
            meter: Arc::default(),
            thread: Mutex::new(None),
            keeping: Mutex::new(Keeping { meta, snapshots: snapshots.kept }),
            lock: Mutex::new(Some(lock)),
            options,
        };
        log.remove_given_up(&names, meta.start)?;
        let writer = log.start_writer(floor, meta.term, found, keyring)?;
        log.spawn(writer)?;
        Ok((log, recovered))
    }

    /// Queues `batch`: `count` bodies, each after its length (u32, LE; see [`crate::push_body`]), none empty. Its first
    /// record gets position `expected`. Returns at once with the position after its last record; it is durable when
    /// `durable()` is there. Callers may be on any thread; `expected` puts them in order.
    ///
    /// # Errors
    /// `Conflict` if `expected` is not the next position; `TooLarge`, `Invalid`, `QueueFull`, `NoSpace`, `Closed`,
    /// `Poisoned`. In each case nothing of the batch is kept.
    pub fn append(&self, batch: Vec<u8>, count: u32, expected: u64) -> Result<u64, LogError> {
        batch::check(&batch, count, &self.options)?;
        self.queue.push(Pending { batch, count }, expected, self.options.queue_bytes_max)
    }

    /// Number of records known durable.
    pub fn durable(&self) -> u64 {
        self.queue.durable()
    }

    /// An eventfd (non-blocking) that becomes readable when a group was committed or the log failed. It rings once and
    /// then not again before `rearm`. It belongs to the log: do not close it.
    pub fn wake_fd(&self) -> RawFd {
        self.queue.bell.fd()
    }

    /// Silences and arms the bell, and returns `durable()`; look at `failure()` afterwards.
    pub fn rearm(&self) -> u64 {
        self.queue.bell.rearm();
        self.queue.durable()
    }

    /// The first failed write or sync, after which nothing is acknowledged any more.
    pub fn failure(&self) -> Option<LogError> {
        self.queue.failure().cloned()
    }

    /// How much room there is: `Low` is the time to take no new work.
    pub fn space(&self) -> Space {
        self.queue.space()
    }

    /// Waits until `durable()` is at least `position`, at most for `timeout`; returns `durable()`, which after a timeout
    /// is less than asked.
    ///
    /// # Errors
    /// `Poisoned`, or `Closed` where it can no longer become durable.
    pub fn wait_durable(&self, position: u64, timeout: Duration) -> Result<u64, LogError> {
        self.queue.wait_durable(position, timeout)
    }

    /// The body of the record at `position`; `None` while there is no durable one.
    ///
    /// # Errors
    /// `Trimmed`; `Damage` if the stored bytes no longer verify; `Io`.
    pub fn read(&self, position: u64) -> Result<Option<Vec<u8>>, LogError> {
        if position >= self.durable() {
            return Ok(None);
        }
        let mut block = Block::default();
        self.index.read(position, 1, 0, &mut block)?;
        Ok(block.body(0).map(<[u8]>::to_vec))
    }

    /// The durable records from position `from` on, in order; see [`Scan`].
    pub fn scan(&self, from: u64) -> Scan {
        Scan::new(Arc::clone(&self.index), End::Durable(Arc::clone(&self.queue)), from)
    }

    /// Stores a snapshot of what the records before `position` come to; durable on return, whole or not there. The two
    /// newest are kept.
    ///
    /// # Errors
    /// `Invalid` if `position` is not durable yet; `Trimmed`, `Poisoned`, `Closed`; `Io`. A full disk here does not
    /// poison the log.
    pub fn save_snapshot(&self, position: u64, bytes: &[u8]) -> Result<(), LogError> {
        let mut keeping = self.keep()?;
        let durable = self.durable();
        if position > durable {
            return Err(LogError::Invalid(format!("a snapshot at {position}, but only {durable} is durable")));
        }
        if position < keeping.meta.start {
            return Err(LogError::Trimmed { start: keeping.meta.start });
        }
        snapshot::save(self.disk.as_ref(), &self.dir, position, bytes, self.index.keyring())?;
        keeping.snapshots.retain(|&kept| kept != position);
        keeping.snapshots.push(position);
        keeping.snapshots.sort_unstable();
        let surplus = keeping.snapshots.len().saturating_sub(snapshot::KEPT);
        keeping.snapshots.drain(..surplus);
        snapshot::prune(self.disk.as_ref(), &self.dir, &keeping.snapshots)?;
        if let [oldest, _, ..] = keeping.snapshots[..] {
            self.keeper.order(oldest);
        }
        Ok(())
    }

    /// Positions after the last records of the segments, oldest first, but for the newest one: where `trim` may cut.
    pub fn cuts(&self) -> Vec<u64> {
        self.index.below(u64::MAX).into_iter().map(|(_, end)| end).collect()
    }

    /// Waits until every segment that the last snapshot let go is archived, or could not be; false after `timeout`.
    pub fn wait_archived(&self, timeout: Duration) -> bool {
        self.keeper.wait_idle(timeout)
    }

    /// Removes whole segments of which every record is below `upto` and below the oldest kept snapshot (without one,
    /// nothing). Returns the first position that can still be read.
    ///
    /// # Errors
    /// `Io`, after which the rest is removed at the next open; `Poisoned`, `Closed`.
    pub fn trim(&self, upto: u64) -> Result<u64, LogError> {
        let mut keeping = self.keep()?;
        let limit = keeping.snapshots.first().map_or(0, |&oldest| oldest.min(upto));
        let _removing = unpoisoned(self.keeper.shelf().removing.lock());
        let old = self.index.below(limit);
        let Some(start) = self.index.base_at(old.len()).filter(|_| !old.is_empty()) else {
            return Ok(keeping.meta.start);
        };
        // First the promise that the log begins later, then the files: a crash between leaves too much, never too little.
        let meta = Meta { start, ..keeping.meta };
        meta.save(self.disk.as_ref(), &self.dir)?;
        keeping.meta = meta;
        self.index.drop_first(old.len());
        for (segment, _) in &old {
            self.remove(&segment.name)?;
        }
        Ok(start)
    }

    /// Opens the blobs in `dir`, which go with this log: sealed with its data keys, and its owner's. Close the log last.
    ///
    /// # Errors
    /// `Io`; `Poisoned`, `Closed`.
    pub fn open_blobs(&self, dir: &Path, quota: u64) -> Result<Blobs, LogError> {
        let _keeping = self.keep()?;
        Blobs::open(dir, Arc::clone(&self.disk), Arc::clone(self.index.keyring()), quota)
    }

    /// Stops taking batches, makes what is queued durable, ends the thread and gives the folder free. Reading goes on
    /// working, snapshots and trimming do not. A second call does nothing.
    ///
    /// # Errors
    /// `Poisoned` if the log failed, now or earlier.
    pub fn close(&self) -> Result<(), LogError> {
        self.queue.close();
        if let Some(thread) = unpoisoned(self.thread.lock()).take()
            && thread.join().is_err()
        {
            self.queue.poison(LogError::Invalid("the log's thread panicked".into()));
        }
        // Who keeps files must be done before the next owner comes.
        self.keeper.stop();
        let _keeping = unpoisoned(self.keeping.lock());
        *unpoisoned(self.lock.lock()) = None;
        self.check_health()
    }

    /// Counters and times since open.
    pub fn stats(&self) -> Stats {
        let failures = self.keeper.shelf().failures.load(Ordering::Relaxed);
        self.meter.read(self.index.len(), self.index.archives(), failures, self.queue.waiting_bytes())
    }

    fn check_health(&self) -> Result<(), LogError> {
        match self.queue.failure() {
            Some(cause) => Err(LogError::Poisoned(Box::new(cause.clone()))),
            None => Ok(()),
        }
    }

    /// The right to change what is kept: of a log that is open and well.
    fn keep(&self) -> Result<MutexGuard<'_, Keeping>, LogError> {
        let keeping = unpoisoned(self.keeping.lock());
        self.check_health()?;
        match *unpoisoned(self.lock.lock()) {
            Some(_) => Ok(keeping),
            None => Err(LogError::Closed),
        }
    }

    /// Removes what a trim had given up before a crash, and archives that had not taken the place of their segment.
    fn remove_given_up(&self, names: &[String], start: u64) -> Result<(), LogError> {
        let first = self.index.base_at(0).unwrap_or(start);
        let segments: HashSet<u64> = names.iter().filter_map(|name| Segment::base_of(name)).collect();
        for name in names {
            let is_given_up = Segment::base_of(name).is_some_and(|base| base < first)
                || archive::base_of(name).is_some_and(|base| base < first || segments.contains(&base));
            if is_given_up {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), LogError> {
        let path = self.dir.join(name);
        self.disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))
    }

    fn start_writer(&self, floor: Floor, term: u64, found: Found, keyring: Arc<Keyring>) -> Result<Writer, LogError> {
        let ground = Ground {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            options: self.options.clone(),
            queue: Arc::clone(&self.queue),
            index: Arc::clone(&self.index),
            meter: Arc::clone(&self.meter),
            keyring,
            floor,
            term,
        };
        let writer = Writer::start(ground, found.tail_position, found.tail_chain, found.tail)?;
        debug_assert_eq!(writer.position(), found.position);
        // What follows the tail in the old segment is in the new one now; without a cut there is nothing to look into,
        // so the space is given back. With one, the bytes stay as evidence.
        if let Some(old) = found.segments.last().filter(|old| old.base != found.tail_position && !old.is_archive())
            && found.cut.is_none()
        {
            let path = self.dir.join(&old.name);
            old.file.truncate(found.tail_offset).map_err(|error| LogError::io("truncate", &path, &error))?;
        }
        Ok(writer)
    }

    fn spawn(&self, writer: Writer) -> Result<(), LogError> {
        let queue = Arc::clone(&self.queue);
        let work = move || {
            let ending = Ending(queue);
            writer.run();
            drop(ending);
        };
        let thread = thread::Builder::new().name("apex-log".into()).spawn(work);
        *unpoisoned(self.thread.lock()) = Some(thread.map_err(|error| LogError::io("spawn", &self.dir, &error))?);
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A failure was told through the bell and every waiter; a drop has nobody to tell.
        let _ = self.close();
    }
}

/// Tells waiters that the thread is gone, also when it panics.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(LogError::Invalid("the log's thread panicked".into()));
        }
        self.0.end();
    }
}

/// True for the name of a file that holds records.
pub(crate) fn is_part(name: &str) -> bool {
    Segment::base_of(name).or_else(|| archive::base_of(name)).is_some()
}

pub(crate) fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<FolderLock, LogError> {
    let path = dir.join(LOCK_NAME);
    let owner = format!("{}\n", std::process::id());
    match disk.lock(&path, &owner).map_err(|error| LogError::io("lock", &path, &error))? {
        Lock::Taken(lock) => Ok(lock),
        Lock::Held(holder) => Err(LogError::Locked { path, pid: holder.trim().parse().ok() }),
    }
}

/// Compares the end of the log with what else is known of it.
pub(crate) fn check_nothing_lost(
    found: &Found,
    floor: u64,
    snapshots: &snapshot::Found,
    start: u64,
) -> Result<(), LogError> {
    let last = found.segments.last().map_or_else(|| Segment::name_of(start), |segment| segment.name.clone());
    let offset = found.tail.iter().map(|group| group.bytes.len() as u64 + crate::format::TRAILER_BYTES as u64);
    let offset = found.tail_offset + offset.sum::<u64>();
    let lost = |known: u64, by: &str| {
        let reason = format!("the log ends here, but records up to {known} were durable ({by})");
        Err(LogError::damage(&last, offset, found.position, reason))
    };
    if found.position < floor {
        return lost(floor, "file floor");
    }
    if let Some((position, _)) = snapshots.newest
        && found.position < position
    {
        return lost(position, "the newest snapshot");
    }
    if start > 0 && snapshots.newest.is_none() {
        let reason = "records were trimmed, but no snapshot before them verifies";
        return match snapshots.damage.first() {
            Some(damage) => Err(LogError::Damage(Damage { reason: reason.into(), ..damage.clone() })),
            None => Err(LogError::damage("snapshot", 0, start, reason)),
        };
    }
    Ok(())
}
