//! A disk in memory that does what disks do on a bad day, on a seed.
//!
//! Holds: files twice (what a reader sees, what a power loss leaves), the writes between, and a plan of faults.
//! At a power loss everything that was not synced is lost, kept or torn, at any byte and in any order. After a failed
//! sync the page cache looks fine and the disk is not, as on Linux. For tests and the simulation only.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{Disk, DiskFile, Lock};
use crate::queue::unpoisoned;

const PAGE_BYTES: usize = 4096;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What is to go wrong. `Default` is a good day. Counts are from the call of [`FaultyDisk::plan`] on.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The power goes at the nth change (create, write, sync, rename, …), which may happen in part.
    pub power_off_at: Option<u64>,
    /// The nth sync of a file or folder fails with EIO; what it should have written is on the disk in part or not.
    pub fail_sync_at: Option<u64>,
    /// The nth write to a file fails with EIO.
    pub fail_write_at: Option<u64>,
    /// Bytes that all files together may have.
    pub capacity: Option<u64>,
    /// Every change fails with EROFS.
    pub is_read_only: bool,
    /// How long a sync takes, at most until the next plan: with an hour, a test says itself when the disk is done.
    pub sync_time: Duration,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    /// Rung when the plan changes.
    planned: Arc<Condvar>,
}

struct State {
    random: Random,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    names_synced: BTreeMap<PathBuf, u64>,
    names_pending: Vec<NameChange>,
    locks: HashSet<PathBuf>,
    /// Handles of an earlier boot are dead.
    boot: u64,
    is_powered: bool,
    faults: Faults,
    /// Number of the plan.
    plan: u64,
    changes: u64,
    writes: u64,
    syncs: u64,
}

#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl FaultyDisk {
    /// An empty disk; the seed decides what each fault leaves.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random(seed),
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            names_pending: Vec::new(),
            locks: HashSet::new(),
            boot: 0,
            is_powered: true,
            faults: Faults::default(),
            plan: 0,
            changes: 0,
            writes: 0,
            syncs: 0,
        };
        FaultyDisk { state: Arc::new(Mutex::new(state)), planned: Arc::default() }
    }

    /// Sets what goes wrong from now on, in place of what was planned.
    pub fn plan(&self, faults: Faults) {
        self.state().plan(faults);
        self.planned.notify_all();
    }

    /// Power off and on again: what was not synced is lost, kept or torn, handles and locks are dead, the plan is empty.
    pub fn crash(&self) {
        let mut state = self.state();
        let State { random, inodes, names_synced, names_pending, .. } = &mut *state;
        // Names: a journal keeps a prefix of what was not synced.
        let kept = random.below(names_pending.len() as u64 + 1) as usize;
        for change in names_pending.drain(..).take(kept) {
            change.apply(names_synced);
        }
        let alive: HashSet<u64> = names_synced.values().copied().collect();
        inodes.retain(|inode, _| alive.contains(inode));
        let mood = Mood::draw(random);
        for inode in inodes.values_mut() {
            inode.lose_power(random, mood);
        }
        state.names = state.names_synced.clone();
        state.restart();
        drop(state);
        self.planned.notify_all();
    }

    /// Every process is killed, but the machine goes on: nothing is lost, handles and locks are dead, the plan is empty.
    pub fn kill(&self) {
        self.state().restart();
        self.planned.notify_all();
    }

    /// Flips one bit of a file, on the disk and in the cache.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, byte: usize, bit: u8) {
        self.edit(path, |bytes| bytes[byte] ^= 1 << bit);
    }

    /// Changes a file behind the back of everybody, on the disk and in the cache.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names.get(path).copied();
        let inode = inode.and_then(|inode| state.inodes.get_mut(&inode));
        let inode = inode.unwrap_or_else(|| panic!("no file {}", path.display()));
        change(&mut inode.seen);
        inode.synced = inode.seen.clone();
        inode.pending.clear();
    }

    /// The bytes of a file as a reader sees them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).and_then(|inode| state.inodes.get(inode)).map(|inode| inode.seen.clone())
    }

    /// A disk of its own with the same files, all of them synced.
    pub fn copy(&self, seed: u64) -> Self {
        let state = self.state();
        let copy = FaultyDisk::new(seed);
        {
            let mut other = copy.state();
            for (&number, inode) in &state.inodes {
                let same = Inode { seen: inode.seen.clone(), synced: inode.seen.clone(), pending: Vec::new() };
                other.inodes.insert(number, same);
            }
            other.next_inode = state.next_inode;
            other.names = state.names.clone();
            other.names_synced = state.names.clone();
        }
        copy
    }

    /// Changes since the last plan: the range in which a power loss makes a difference.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }

    fn file(&self, state: &State, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: self.clone(), inode, boot: state.boot })
    }
}

impl State {
    fn restart(&mut self) {
        self.locks.clear();
        self.boot += 1;
        self.is_powered = true;
        self.plan(Faults::default());
    }

    fn plan(&mut self, faults: Faults) {
        self.faults = faults;
        self.plan += 1;
        (self.changes, self.writes, self.syncs) = (0, 0, 0);
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_powered { Ok(()) } else { Err(io::Error::from_raw_os_error(EIO)) }
    }

    /// Counts a change. `true` if it is the one at which the power goes.
    fn change(&mut self) -> io::Result<bool> {
        self.check_power()?;
        if self.faults.is_read_only {
            return Err(io::Error::from_raw_os_error(EROFS));
        }
        self.changes += 1;
        if self.faults.power_off_at == Some(self.changes) {
            self.is_powered = false;
        }
        Ok(!self.is_powered)
    }

    fn name(&mut self, change: NameChange) -> io::Result<()> {
        let is_last = self.change()?;
        change.apply(&mut self.names);
        self.names_pending.push(change);
        if is_last { self.check_power() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<bool> {
        self.syncs += 1;
        Ok(self.change()? || self.faults.fail_sync_at == Some(self.syncs))
    }

    fn grow(&self, from: usize, to: usize) -> io::Result<()> {
        let Some(capacity) = self.faults.capacity else { return Ok(()) };
        let used: u64 =
            self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|i| i.seen.len() as u64).sum();
        if to > from && used + (to - from) as u64 > capacity {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, data) => write(bytes, *offset, data),
            Change::Resize(size) => bytes.resize(*size, 0),
        }
    }
}

/// What one power loss does to writes that were not synced.
#[derive(Clone, Copy)]
enum Mood {
    LosesAll,
    KeepsAll,
    KeepsSome,
}

impl Mood {
    fn draw(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Mood::LosesAll,
            1 => Mood::KeepsAll,
            _ => Mood::KeepsSome,
        }
    }
}

impl Inode {
    fn apply(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.synced);
        }
    }

    /// The disk keeps some of what is pending, and the cache forgets that any of it is.
    fn lose(&mut self, random: &mut Random, mood: Mood) {
        for change in self.pending.drain(..) {
            match (mood, change) {
                (Mood::LosesAll, _) => {}
                (Mood::KeepsAll, change) => change.apply(&mut self.synced),
                (Mood::KeepsSome, Change::Resize(size)) => {
                    if random.below(2) == 0 {
                        Change::Resize(size).apply(&mut self.synced);
                    }
                }
                (Mood::KeepsSome, Change::Write(offset, data)) => {
                    let mut from = 0;
                    while from < data.len() {
                        let page_end = (offset + from) / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES - offset;
                        let to = page_end.min(data.len());
                        let torn = from + random.below((to - from) as u64 + 1) as usize;
                        match random.below(4) {
                            0 => {}
                            1 => write(&mut self.synced, offset + from, &data[from..to]),
                            2 => write(&mut self.synced, offset + from, &data[from..torn]),
                            _ => write(&mut self.synced, offset + torn, &data[torn..to]),
                        }
                        from = to;
                    }
                }
            }
        }
    }

    fn lose_power(&mut self, random: &mut Random, mood: Mood) {
        self.lose(random, mood);
        self.seen = self.synced.clone();
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

impl Disk for FaultyDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        let state = self.state();
        state.check_power()?;
        if state.faults.is_read_only { Err(io::Error::from_raw_os_error(EROFS)) } else { Ok(()) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.name(NameChange::Link(path.to_path_buf(), inode))?;
        Ok(self.file(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.check_power()?;
        let inode = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(&state, inode))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().name(NameChange::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(NameChange::Unlink(path.to_path_buf()))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.sync()? {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let State { names_synced, names_pending, .. } = &mut *state;
        for change in names_pending.drain(..) {
            change.apply(names_synced);
        }
        Ok(())
    }

    fn lock(&self, path: &Path, _owner: &str) -> io::Result<Lock> {
        let mut state = self.state();
        state.check_power()?;
        if state.faults.is_read_only {
            return Err(io::Error::from_raw_os_error(EROFS));
        }
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(Lock::Held(std::process::id().to_string()));
        }
        Ok(Lock::Taken(Box::new(Held { disk: self.clone(), path: path.to_path_buf(), boot: state.boot })))
    }
}

struct Held {
    disk: FaultyDisk,
    path: PathBuf,
    boot: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
    boot: u64,
}

impl FaultyFile {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.boot != self.boot {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        work(&mut state)
    }

    fn resize(&self, bytes: u64, only_grow: bool) -> io::Result<()> {
        self.with(|state| {
            let is_last = state.change()?;
            let (size, old) = (bytes as usize, state.inode(self.inode)?.seen.len());
            if only_grow && size <= old {
                return Ok(());
            }
            state.grow(old, size)?;
            state.inode(self.inode)?.apply(Change::Resize(size));
            if is_last { state.check_power() } else { Ok(()) }
        })
    }
}

impl State {
    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::Error::from_raw_os_error(EIO))
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|state| {
            state.check_power()?;
            Ok(state.inode(self.inode)?.seen.len() as u64)
        })
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.resize(bytes, true)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            let is_last = state.change()?;
            state.writes += 1;
            let offset = offset as usize;
            let old = state.inode(self.inode)?.seen.len();
            state.grow(old, offset + bytes.len())?;
            let fails = is_last || state.faults.fail_write_at == Some(state.writes);
            let done = if fails { state.random.below(bytes.len() as u64 + 1) as usize } else { bytes.len() };
            state.inode(self.inode)?.apply(Change::Write(offset, bytes[..done].to_vec()));
            if fails { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
        })
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            state.check_power()?;
            let seen = &state.inode(self.inode)?.seen;
            let from = seen.get(offset as usize..).unwrap_or_default();
            let length = from.len().min(into.len());
            into[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn fdatasync(&self) -> io::Result<()> {
        let (takes, plan) = self.with(|state| Ok((state.faults.sync_time, state.plan)))?;
        if !takes.is_zero() {
            let waited = self.disk.planned.wait_timeout_while(self.disk.state(), takes, |state| state.plan == plan);
            drop(unpoisoned(waited));
        }
        self.with(|state| {
            let fails = state.sync()?;
            if !fails {
                state.inode(self.inode)?.sync();
                return Ok(());
            }
            let State { random, inodes, is_powered, .. } = state;
            if let Some(inode) = inodes.get_mut(&self.inode)
                && *is_powered
            {
                let mood = Mood::draw(random);
                inode.lose(random, mood);
            }
            Err(io::Error::from_raw_os_error(EIO))
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.resize(bytes, false)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound.max(1)
    }
}
