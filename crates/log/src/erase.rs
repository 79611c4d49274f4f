//! Destroying keys: of records that are to be erased, and of all that is there no more.
//!
//! Holds: the two ways in (`erase`, `sweep`), and what the files of a folder need. For an owner that serves nothing: the folder is locked.
//! May know: every file of the log and of its blobs. Never: what a record means; the caller says which are meant.
//! In: a folder at rest. Out: one whose chain is as it was, in which what was erased can be read by nobody.
//!
//! The order is such that a crash at any moment leaves a whole log, and doing it again finishes it: first archives are made
//! in which those records stay sealed, then the keys go, all at once, then the files that nobody can read any more.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::archive;
use crate::blobs::{self, Address};
use crate::disk::{Disk, UNFINISHED};
use crate::error::LogError;
use crate::format::{FRAME_BYTES, is_sealed, record, u32_at};
use crate::log::{FolderLock, take_lock};
use crate::meta::{self, Meta};
use crate::recovery::{self, Scope, header_of};
use crate::seal::{Keyring, Kind, MasterKeys};
use crate::segment::Segment;
use crate::snapshot;
use crate::walk::{Care, Walk};

/// Digits of an address, in records.
const ADDRESS_BYTES: usize = "sha256:".len() + 64;

/// What is to be erased.
pub struct Erasure<'a> {
    /// Records from here on stay. A snapshot must stand here or later: what is erased is not folded again.
    pub below: u64,
    /// Which of the records before that.
    pub is_meant: &'a dyn Fn(&[u8]) -> bool,
    /// Whose blobs.
    pub blobs_of: Option<&'a str>,
}

/// What was erased, this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records.
    pub records: u64,
    /// Archives that were made anew.
    pub archives: u64,
    /// Blobs.
    pub blobs: u64,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Data keys.
    pub keys: u64,
}

/// The numbers of data keys, and what is sealed with each.
type Places = BTreeMap<u32, BTreeSet<u64>>;

/// A folder that nobody else has.
struct House<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    keyring: Keyring,
    masters: &'a MasterKeys,
    snapshots: snapshot::Found,
    /// Each with the position after its last record.
    segments: Vec<(Arc<Segment>, u64)>,
    _lock: FolderLock,
}

/// A record as it is stored.
struct Stored<'a> {
    position: u64,
    /// Number of the data key; `None` where it is not sealed.
    key: Option<u32>,
    /// `None`: it was erased.
    body: Option<&'a [u8]>,
}

/// How many records `erase` would erase; changes nothing.
///
/// # Errors
/// As `erase`, but for the snapshot.
pub fn count_erasable(
    dir: &Path,
    disk: &dyn Disk,
    masters: &MasterKeys,
    is_meant: &dyn Fn(&[u8]) -> bool,
) -> Result<u64, LogError> {
    let house = House::enter(disk, dir, masters)?;
    let erasure = Erasure { below: u64::MAX, is_meant, blobs_of: None };
    Ok(house.look(&erasure)?.0.len() as u64)
}

/// Erases records and blobs for good: their keys are destroyed, and what is stored of them stays, so that the chain is as it
/// was. Snapshots before `below` are removed. `blobs` is the folder of the blobs, which may not be there.
///
/// # Errors
/// `Key` where the log is not encrypted; `Invalid` where a record has no key of its own (it was written before the log was
/// encrypted, or by an older version), or no snapshot stands at `below` or later: nothing is changed then. `Locked`, `Damage`,
/// `Io`: begun again, it goes on.
pub fn erase(
    dir: &Path,
    blobs: &Path,
    disk: &dyn Disk,
    masters: &MasterKeys,
    erasure: &Erasure<'_>,
) -> Result<Erased, LogError> {
    let mut house = House::enter(disk, dir, masters)?;
    if house.snapshots.newest.as_ref().is_none_or(|(position, _)| *position < erasure.below) {
        return Err(LogError::Invalid(format!("no snapshot stands at {} or later", erasure.below)));
    }
    let (meant, mut needs) = house.look(erasure)?;
    let all = blobs::all(disk, blobs)?;
    let (gone, kept): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|found| erasure.blobs_of.is_some_and(|tenant| found.is_of(tenant)));

    let positions: BTreeSet<u64> = meant.iter().map(|(_, position)| *position).collect();
    let archives = house.keep_sealed(&positions)?;
    needs.pieces = house.pieces()?;
    house.drop_snapshots(erasure.below)?;
    needs.snapshots = house.seals_of_snapshots()?;
    needs.blobs = seals(&kept);
    for &(number, position) in &meant {
        house.keyring.forget(number, Kind::Record, position, position);
    }
    house.forget(&needs)?;
    // The keys are gone: from here on there is only space to be given back.
    remove_blobs(disk, blobs, &gone)?;
    Ok(Erased { records: meant.len() as u64, archives, blobs: gone.len() as u64 })
}

/// Removes blobs that no record and no snapshot names, and data keys that no file needs. `is_old` says of the name of a blob's file
/// whether it may go: one that was put a moment ago may not be named yet.
///
/// # Errors
/// `Locked`, `Key`, `Damage`, `Io`: begun again, it goes on.
pub fn sweep(
    dir: &Path,
    blobs: &Path,
    disk: &dyn Disk,
    masters: &MasterKeys,
    is_old: &dyn Fn(&str) -> bool,
) -> Result<Swept, LogError> {
    let mut house = House::enter(disk, dir, masters)?;
    let mut named = HashSet::new();
    let mut needs = Needs::default();
    house.each_record(&mut |stored| {
        needs.note(&stored);
        note_addresses(stored.body.unwrap_or_default(), &mut named);
        Ok(())
    })?;
    if let Some((_, state)) = &house.snapshots.newest {
        note_addresses(state, &mut named);
    }
    let all = blobs::all(disk, blobs)?;
    let is_named = |found: &blobs::Found| found.address().is_none_or(|address| named.contains(&address));
    let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|found| is_named(found) || !is_old(&found.name));
    let mut swept = Swept { blobs: gone.len() as u64, bytes: gone.iter().map(|found| found.bytes).sum(), keys: 0 };
    if house.keyring.can_seal() {
        needs.pieces = house.pieces()?;
        needs.snapshots = house.seals_of_snapshots()?;
        needs.blobs = seals(&kept);
        swept.keys = house.forget(&needs)?;
    }
    remove_blobs(disk, blobs, &gone)?;
    Ok(swept)
}

/// What the files of a folder are sealed with.
#[derive(Default)]
struct Needs {
    /// The first and the last that each data key sealed; of erased ones, too: what is left of their data key says so.
    records: BTreeMap<u32, (u64, u64)>,
    pieces: Places,
    snapshots: Places,
    blobs: Places,
}

impl Needs {
    fn note(&mut self, stored: &Stored<'_>) {
        if let Some(key) = stored.key {
            self.records.entry(key).or_insert((stored.position, stored.position)).1 = stored.position;
        }
    }
}

impl<'a> House<'a> {
    fn enter(disk: &'a dyn Disk, dir: &'a Path, masters: &'a MasterKeys) -> Result<Self, LogError> {
        let lock = take_lock(disk, dir)?;
        let mut names = disk.list(dir).map_err(|error| LogError::io("list", dir, &error))?;
        for name in names.extract_if(.., |name| name.ends_with(UNFINISHED)) {
            let path = dir.join(name);
            disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
        }
        let meta = Meta::load(disk, dir)?.ok_or_else(|| LogError::damage(meta::NAME, 0, 0, "there is no log"))?;
        let keyring = Keyring::load(disk, dir, masters)?;
        let snapshots = snapshot::find(disk, dir, &names, &keyring)?;
        let verify_from = snapshots.newest.as_ref().map_or(0, |(position, _)| *position);
        let scope = Scope { start: meta.start, verify_from, is_live: false, cache: Arc::default(), keyring: &keyring };
        let found = recovery::recover(disk, dir, &names, &scope)?;
        let ends = found.segments.iter().skip(1).map(|next| next.base).chain([found.position]);
        let segments = found.segments.iter().cloned().zip(ends).collect();
        Ok(House { disk, dir, keyring, masters, snapshots, segments, _lock: lock })
    }

    /// Shows every record that there is.
    fn each_record(&self, see: &mut dyn FnMut(Stored<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        let mut opened = Vec::new();
        for (segment, end) in &self.segments {
            let content = segment.content(&self.keyring)?;
            let (header, seed) = header_of(&content, &segment.name, segment.base)?;
            let mut walk = Walk::new(segment.base, header.chain, Care::Everything);
            let fault = walk.go(&content, seed, Some(*end));
            if let Some((offset, reason)) = fault.filter(|_| walk.position != *end) {
                return Err(LogError::damage(&segment.name, offset as u64, walk.position, reason));
            }
            for (position, &start) in (segment.base..*end).zip(&walk.starts) {
                let start = start as usize;
                let damage = |reason: String| LogError::damage(&segment.name, start as u64, position, reason);
                let body = record(&content, start).map_err(|reason| damage(reason.to_owned()))?;
                if !is_sealed(&content, start) {
                    see(Stored { position, key: None, body: Some(body) })?;
                    continue;
                }
                let key = Some(u32_at(&content, start + FRAME_BYTES));
                opened.clear();
                opened.extend_from_slice(body);
                let length = self.keyring.open_record(position, &mut opened).map_err(damage)?;
                see(Stored { position, key, body: length.map(|length| &opened[4..4 + length]) })?;
            }
        }
        Ok(())
    }

    /// The records that are meant, each with its data key, and the data keys of all. Changes nothing.
    fn look(&self, erasure: &Erasure<'_>) -> Result<(Vec<(u32, u64)>, Needs), LogError> {
        if !self.keyring.can_seal() {
            return Err(LogError::Key(
                "the log is not encrypted, so there is no key to destroy; name a key file with log.key_file for what is \
                 written from now on"
                    .into(),
            ));
        }
        let (mut meant, mut needs) = (Vec::new(), Needs::default());
        self.each_record(&mut |stored| {
            needs.note(&stored);
            let Some(body) = stored.body else { return Ok(()) };
            let is_meant = stored.position < erasure.below && (erasure.is_meant)(body);
            match stored.key {
                _ if !is_meant => {}
                Some(key) if self.keyring.can_forget(key) => meant.push((key, stored.position)),
                _ => {
                    return Err(LogError::Invalid(format!(
                        "record {} has no key of its own, because it was written before the log was encrypted that way; \
                         it goes when history does (log.retention_s)",
                        stored.position
                    )));
                }
            }
            Ok(())
        })?;
        Ok((meant, needs))
    }

    /// Makes the archives that hold some of the records anew, with those sealed in them, under a data key of their own.
    fn keep_sealed(&mut self, positions: &BTreeSet<u64>) -> Result<u64, LogError> {
        let is_meant =
            |segment: &Segment, end: u64| segment.is_archive() && positions.range(segment.base..end).next().is_some();
        let count = self.segments.iter().filter(|(segment, end)| is_meant(segment, *end)).count() as u64;
        if count == 0 {
            return Ok(0);
        }
        self.keyring.renew(self.disk, self.dir, self.masters)?;
        for (segment, end) in &mut self.segments {
            if is_meant(segment, *end) {
                let stays = |position: u64| positions.contains(&position);
                let anew = archive::make_anew(self.disk, self.dir, segment, *end, &self.keyring, &stays)?;
                *segment = Arc::new(Segment::archived(self.dir, anew));
            }
        }
        Ok(count)
    }

    fn pieces(&self) -> Result<Places, LogError> {
        let mut places = Places::new();
        for archive in self.segments.iter().filter_map(|(segment, _)| segment.archive()) {
            for (key, place) in archive.seals()? {
                places.entry(key).or_default().insert(place);
            }
        }
        Ok(places)
    }

    /// Removes the snapshots that stand before a position.
    fn drop_snapshots(&mut self, below: u64) -> Result<(), LogError> {
        self.snapshots.kept.retain(|&position| position >= below);
        snapshot::prune(self.disk, self.dir, &self.snapshots.kept)?;
        self.disk.sync_dir(self.dir).map_err(|error| LogError::io("sync", self.dir, &error))
    }

    fn seals_of_snapshots(&self) -> Result<Places, LogError> {
        let mut places = Places::new();
        for &position in &self.snapshots.kept {
            let key = snapshot::key(self.disk, self.dir, position)?;
            places.entry(key).or_default().insert(position);
        }
        Ok(places)
    }

    /// Destroys, at once and durably, every key but those that are needed; how many data keys were dropped.
    fn forget(&mut self, needs: &Needs) -> Result<u64, LogError> {
        let before = self.keyring.len();
        self.keyring.drop_unneeded(|number| {
            needs.records.contains_key(&number)
                || [&needs.pieces, &needs.snapshots, &needs.blobs].iter().any(|places| places.contains_key(&number))
        });
        self.keyring.retain(Kind::Piece, &needs.pieces);
        self.keyring.retain(Kind::Snapshot, &needs.snapshots);
        self.keyring.retain(Kind::Blob, &needs.blobs);
        self.keyring.retain_between(Kind::Record, &needs.records);
        self.keyring.save(self.disk, self.dir, self.masters)?;
        Ok((before - self.keyring.len()) as u64)
    }
}

fn seals(found: &[blobs::Found]) -> Places {
    let mut places = Places::new();
    for (key, place) in found.iter().filter_map(|found| found.seal) {
        places.entry(key).or_default().insert(place);
    }
    places
}

fn remove_blobs(disk: &dyn Disk, dir: &Path, gone: &[blobs::Found]) -> Result<(), LogError> {
    for found in gone {
        let path = dir.join(&found.name);
        disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
    }
    if gone.is_empty() {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(|error| LogError::io("sync", dir, &error))
}

/// Everything in `bytes` that looks like an address.
fn note_addresses(bytes: &[u8], into: &mut HashSet<Address>) {
    let mut rest = bytes;
    while let Some(at) = rest.windows(7).position(|part| part == b"sha256:") {
        let text = rest.get(at..at + ADDRESS_BYTES).and_then(|text| std::str::from_utf8(text).ok());
        into.extend(text.and_then(Address::parse));
        rest = &rest[at + 7..];
    }
}
