//! The log as a visitor sees it: nothing is locked, written or removed, so the owner may go on serving.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Damage, LogError};
use crate::floor::Floor;
use crate::index::Index;
use crate::log::{check_nothing_lost, is_part};
use crate::meta::{self, Meta};
use crate::recovery::{self, Cut, Found, Scope};
use crate::scan::{End, Scan};
use crate::seal::{Keyring, MasterKeys};
use crate::segment::{Block, Segment};
use crate::snapshot;

/// How often a look begins anew because the owner changed the folder meanwhile.
const LOOKS_MAX: u32 = 20;

/// How much of a log is verified before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What an opening verifies: all that no snapshot stands for.
    Opening,
    /// Every byte.
    Everything,
}

/// A log at rest or as it is at this moment, to read. What became durable later is not seen.
pub struct View {
    /// Number of records: the position of the next one.
    pub position: u64,
    /// The first position that can be read.
    pub start: u64,
    /// The term of the newest ownership; 0 where there never was one.
    pub term: u64,
    /// Hash of the last group.
    pub chain: [u8; 32],
    /// Bytes behind the last whole group: being written, or torn; the next opening cuts them.
    pub unfinished: Option<Cut>,
    /// The newest snapshot that verifies: the position it stands at, and its bytes.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// Snapshots that do not verify.
    pub damaged_snapshots: Vec<Damage>,
    index: Arc<Index>,
    dir: PathBuf,
}

/// A file that belongs to a log, and how much of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name within the folder.
    pub name: String,
    /// Bytes from its beginning that hold something.
    pub bytes: u64,
    /// True if it never changes any more.
    pub is_sealed: bool,
}

impl View {
    /// Looks at the log in `dir`.
    ///
    /// # Errors
    /// As [`crate::Log::open`], also `Key`, but for `Locked`: `Damage` names the first thing that does not verify. `Io` with
    /// `NotFound` where there is no folder.
    pub fn open(dir: &Path, disk: &Arc<dyn Disk>, depth: Depth, keys: &MasterKeys) -> Result<View, LogError> {
        let mut looks = LOOKS_MAX;
        loop {
            let names = list(disk.as_ref(), dir)?;
            match look(dir, disk.as_ref(), &names, depth, keys) {
                Err(_) if looks > 1 && names != list(disk.as_ref(), dir)? => looks -= 1,
                outcome => return outcome,
            }
        }
    }

    /// The records from position `from` on, in order; see [`Scan`].
    pub fn scan(&self, from: u64) -> Scan {
        Scan::new(Arc::clone(&self.index), End::Fixed(self.position), from)
    }

    /// The body of the record at `position`; `None` behind the end.
    ///
    /// # Errors
    /// `Trimmed`; `Damage` if the stored bytes do not verify; `Io`.
    pub fn read(&self, position: u64) -> Result<Option<Vec<u8>>, LogError> {
        if position >= self.position {
            return Ok(None);
        }
        let mut block = Block::default();
        self.index.read(position, 1, 0, &mut block)?;
        Ok(block.body(0).map(<[u8]>::to_vec))
    }

    /// Where the record at `position` is: file name and byte offset of its frame.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn place(&self, position: u64) -> Result<(String, u64), LogError> {
        let segment = self.index.seek(position)?;
        Ok((segment.name.clone(), segment.offset_of(position, self.index.keyring())?))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files that hold the records, oldest first. With `meta` and a snapshot they are the log.
    pub fn parts(&self) -> Result<Vec<Part>, LogError> {
        let segments = self.index.all();
        let last = segments.len().saturating_sub(1);
        let part = |(number, segment): (usize, &Arc<Segment>)| {
            Ok(Part { name: segment.name.clone(), bytes: segment.used()?, is_sealed: number < last })
        };
        segments.iter().enumerate().map(part).collect()
    }
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, LogError> {
    let mut names = disk.list(dir).map_err(|error| LogError::io("list", dir, &error))?;
    names.sort_unstable();
    Ok(names)
}

fn look(dir: &Path, disk: &dyn Disk, names: &[String], depth: Depth, keys: &MasterKeys) -> Result<View, LogError> {
    // The witness is read first: what it says was durable before the segments are read.
    let floor = Floor::look(disk, dir)?;
    let meta = Meta::load(disk, dir)?;
    if meta.is_none() && names.iter().any(|name| is_part(name)) {
        return Err(LogError::damage(meta::NAME, 0, 0, "it is missing, but there are segments"));
    }
    let meta = meta.unwrap_or_default();
    let keyring = Keyring::load(disk, dir, keys)?;
    let mut snapshots = snapshot::find(disk, dir, names, &keyring)?;
    if depth == Depth::Everything {
        snapshot::check_rest(disk, dir, &mut snapshots, &keyring)?;
    }
    let verify_from = match (depth, &snapshots.newest) {
        (Depth::Opening, Some((position, _))) => *position,
        _ => 0,
    };
    let Found { segments, position, chain, cut, .. } = recovery::recover(
        disk,
        dir,
        names,
        &Scope { start: meta.start, verify_from, is_live: true, cache: Arc::default(), keyring: &keyring },
    )
    .and_then(|found| {
        check_nothing_lost(&found, floor, &snapshots, meta.start)?;
        Ok(found)
    })?;
    Ok(View {
        position,
        start: meta.start,
        term: meta.term,
        chain,
        unfinished: cut,
        snapshot: snapshots.newest,
        damaged_snapshots: snapshots.damage,
        index: Arc::new(Index::new(segments, Arc::new(keyring))),
        dir: dir.to_path_buf(),
    })
}
