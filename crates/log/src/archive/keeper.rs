//! The thread that makes archives of segments, at its leisure.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::make::make;
use super::name_of;
use super::read::Archive;
use crate::disk::{Disk, UNFINISHED};
use crate::error::LogError;
use crate::index::Index;
use crate::queue::unpoisoned;
use crate::seal::Keyring;
use crate::segment::Segment;

/// For each second of work it rests three: at most a quarter of one CPU, and of what the disk can write.
const REST: u32 = 3;

/// What the keeper shares with the log.
pub(crate) struct Shelf {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) index: Arc<Index>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) keyring: Arc<Keyring>,
    /// So many of the newest segments below the older snapshot are left as they are.
    pub(crate) after_segments: u64,
    /// Held while files are taken away, here and by a trim.
    pub(crate) removing: Mutex<()>,
    pub(crate) failures: AtomicU64,
    orders: Mutex<Orders>,
    news: Condvar,
}

#[derive(Default)]
struct Orders {
    /// Records below this may be archived.
    below: u64,
    is_new: bool,
    is_stopping: bool,
    is_busy: bool,
}

pub(crate) struct Keeper {
    shelf: Arc<Shelf>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shelf {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        index: Arc<Index>,
        cache: Arc<Cache>,
        keyring: Arc<Keyring>,
        after_segments: u64,
    ) -> Self {
        Shelf {
            disk,
            dir,
            index,
            cache,
            keyring,
            after_segments,
            removing: Mutex::new(()),
            failures: AtomicU64::new(0),
            orders: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// Archives what may be, oldest first, until told to stop.
    fn tidy(&self, below: u64) -> Result<(), LogError> {
        let old = self.index.below(below);
        let count = old.len().saturating_sub(usize::try_from(self.after_segments).unwrap_or(usize::MAX));
        for (segment, end) in old.into_iter().take(count).filter(|(segment, _)| !segment.is_archive()) {
            if self.archive(&segment, end)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn archive(&self, segment: &Arc<Segment>, end: u64) -> Result<Option<()>, LogError> {
        let name = name_of(segment.base);
        let (fresh, path) = (self.dir.join(format!("{name}{UNFINISHED}")), self.dir.join(&name));
        let began = Mutex::new(Instant::now());
        let rest = || {
            let mut began = unpoisoned(began.lock());
            let goes_on = self.rests(began.elapsed() * REST);
            *began = Instant::now();
            goes_on
        };
        let made = make(self.disk.as_ref(), &self.dir, segment, end, &self.keyring, &rest);
        if !matches!(made, Ok(Some(()))) {
            // Only tidiness: what is left under this name is removed at the next open.
            let _ = self.disk.remove(&fresh);
            return made;
        }
        let _removing = unpoisoned(self.removing.lock());
        if !self.index.holds(segment) {
            let _ = self.disk.remove(&fresh);
            return Ok(Some(()));
        }
        self.disk.rename(&fresh, &path).map_err(|error| LogError::io("rename", &path, &error))?;
        self.disk.sync_dir(&self.dir).map_err(|error| LogError::io("sync", &self.dir, &error))?;
        let file = self.disk.open(&path).map_err(|error| LogError::io("open", &path, &error))?;
        let archive = Archive::open(&self.dir, name, file, Arc::clone(&self.cache))?;
        self.index.replace(segment, Arc::new(Segment::archived(&self.dir, archive)));
        let old = self.dir.join(&segment.name);
        self.disk.remove(&old).map_err(|error| LogError::io("remove", &old, &error))?;
        Ok(Some(()))
    }

    /// Waits that long, or until there is no time left. False: stop.
    fn rests(&self, time: Duration) -> bool {
        let orders = unpoisoned(self.orders.lock());
        let waited = self.news.wait_timeout_while(orders, time, |orders| !orders.is_stopping);
        !unpoisoned(waited).0.is_stopping
    }

    fn work(&self) {
        loop {
            let mut orders = unpoisoned(self.orders.lock());
            orders.is_busy = false;
            self.news.notify_all();
            let mut orders = unpoisoned(self.news.wait_while(orders, |orders| !orders.is_new && !orders.is_stopping));
            if orders.is_stopping {
                return;
            }
            orders.is_new = false;
            orders.is_busy = true;
            let below = orders.below;
            drop(orders);
            if self.tidy(below).is_err() {
                // Nothing is lost: the segment is still there, and the next snapshot asks again.
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Keeper {
    pub(crate) fn start(shelf: Arc<Shelf>) -> Result<Self, LogError> {
        let seen = Arc::clone(&shelf);
        let thread = thread::Builder::new().name("apex-log-keeper".into()).spawn(move || seen.work());
        let thread = thread.map_err(|error| LogError::io("spawn", &shelf.dir, &error))?;
        Ok(Keeper { shelf, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Asks for archives of what is below a position; returns at once.
    pub(crate) fn order(&self, below: u64) {
        let mut orders = unpoisoned(self.shelf.orders.lock());
        orders.below = below;
        orders.is_new = true;
        self.shelf.news.notify_all();
    }

    /// Waits until it has done what it was asked for.
    pub(crate) fn wait_idle(&self, timeout: Duration) -> bool {
        let orders = unpoisoned(self.shelf.orders.lock());
        let waits = |orders: &mut Orders| (orders.is_new || orders.is_busy) && !orders.is_stopping;
        !unpoisoned(self.shelf.news.wait_timeout_while(orders, timeout, waits)).1.timed_out()
    }

    pub(crate) fn stop(&self) {
        unpoisoned(self.shelf.orders.lock()).is_stopping = true;
        self.shelf.news.notify_all();
        if let Some(thread) = unpoisoned(self.thread.lock()).take() {
            // A panic of it lost nothing: archives that are not finished have no name.
            let _ = thread.join();
        }
    }
}
