//! The data keys: made at random, kept wrapped in the file `keys`, and what is done with them. Each record, piece,
//! snapshot and blob has a key of its own below its data key, so that it alone can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305, XNonce};

use super::master::{MasterKeys, id_text};
use super::random;
use super::tree::{KEY_BYTES, Key, Leaf, Tree};
use crate::disk::{Disk, read_range, replace_file};
use crate::error::LogError;
use crate::format::{u32_at, u64_at};

const NAME: &str = "keys";
const MAGIC: [u8; 8] = *b"apexkeys";
/// Of the files of before data keys were trees.
const VERSION_WHOLE: u32 = 1;
const VERSION: u32 = 2;
const HEAD_BYTES: usize = 16;
/// Of an entry of version 1: number, master key, nonce, wrapped key, tag.
const WHOLE_ENTRY_BYTES: usize = 4 + 8 + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// Of an entry before what is wrapped: number, kind, bytes wrapped, master key, nonce.
const ENTRY_HEAD_BYTES: usize = 4 + 4 + 4 + 8 + NONCE_BYTES;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Of a sealed record: the number of its key and the tag.
pub(crate) const OVERHEAD: usize = 4 + TAG_BYTES;

/// What is sealed: the last byte of its nonce, so that a nonce of one kind is never one of another, and the first byte of
/// the way to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its place is the position; the nonce is that, too.
    Record = 1,
    /// Its place is the position of its first record. The nonce is random, as of all that follow.
    Piece = 2,
    /// Its place is its position.
    Snapshot = 3,
    DataKey = 4,
    /// Its place is the beginning of the random id of the file.
    Blob = 5,
}

/// A data key.
enum DataKey {
    /// Of a log that was written before there were trees: one key for everything, and no part of it can be forgotten.
    Whole(Key),
    Tree(Tree),
}

/// Why there is no key.
enum Missing {
    /// It was destroyed.
    Erased,
    Unknown(u32),
}

/// Empty where nothing is encrypted.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: BTreeMap<u32, DataKey>,
    /// The one that seals.
    current: Option<u32>,
}

impl DataKey {
    const WHOLE: u32 = 0;
    const TREE: u32 = 1;

    fn cipher(&self, kind: Kind, place: u64) -> Option<XChaCha20Poly1305> {
        let key = match self {
            DataKey::Whole(key) => *key,
            DataKey::Tree(tree) => tree.leaf(leaf(kind, place))?,
        };
        Some(XChaCha20Poly1305::new(&key.into()))
    }

    fn encode(&self) -> (u32, Vec<u8>) {
        match self {
            DataKey::Whole(key) => (Self::WHOLE, key.to_vec()),
            DataKey::Tree(tree) => (Self::TREE, tree.encode()),
        }
    }

    fn decode(kind: u32, bytes: &[u8]) -> Option<Self> {
        match kind {
            Self::WHOLE => Some(DataKey::Whole(bytes.try_into().ok()?)),
            Self::TREE => Tree::decode(bytes).map(DataKey::Tree),
            _ => None,
        }
    }
}

impl Missing {
    fn text(&self) -> String {
        match self {
            Missing::Erased => "it was erased".into(),
            Missing::Unknown(number) => format!("its data key {number} is not there"),
        }
    }
}

fn leaf(kind: Kind, place: u64) -> Leaf {
    (kind as Leaf) << u64::BITS | Leaf::from(place)
}

impl Keyring {
    /// What `seal` adds to a content.
    pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

    /// Reads and unwraps; changes nothing.
    ///
    /// # Errors
    /// `Key` where a data key is wrapped by none of the master keys; `Damage`, `Io`.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, masters: &MasterKeys) -> Result<Self, LogError> {
        let path = dir.join(NAME);
        let file = match disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Keyring::default()),
            outcome => outcome.map_err(|error| LogError::io("open", &path, &error))?,
        };
        if masters.is_empty() {
            return Err(LogError::Key("the log is encrypted: name the file of its key with log.key_file".into()));
        }
        let mut bytes = Vec::new();
        let size = file.size().map_err(|error| LogError::io("stat", &path, &error))?;
        read_range(file.as_ref(), 0, size as usize, &mut bytes).map_err(|error| LogError::io("read", &path, &error))?;
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(damage("it is cut")) };
        if body.len() < HEAD_BYTES || body[..8] != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damage("its magic or checksum does not match"));
        }
        let (version, count) = (u32_at(body, 8), u32_at(body, 12));
        let mut ring = Keyring::default();
        let mut rest = &body[HEAD_BYTES..];
        for _ in 0..count {
            let (entry, after) = match version {
                VERSION_WHOLE => split_whole(rest),
                VERSION => split(rest),
                _ => return Err(damage("its version is not known to this program")),
            }
            .ok_or_else(|| damage("its size does not match"))?;
            ring.keys.insert(entry.number, entry.unwrap(masters)?);
            rest = after;
        }
        if rest.is_empty() { Ok(ring) } else { Err(damage("its size does not match")) }
    }

    /// Makes the data key of this opening, and wraps all with the first master key; durable on return.
    pub(crate) fn renew(&mut self, disk: &dyn Disk, dir: &Path, masters: &MasterKeys) -> Result<(), LogError> {
        if masters.is_empty() {
            return Ok(());
        }
        let number = self.keys.last_key_value().map_or(1, |(&last, _)| last + 1);
        let root = random::<KEY_BYTES>().map_err(|error| LogError::io("getrandom", dir, &error))?;
        self.keys.insert(number, DataKey::Tree(Tree::new(root)));
        self.current = Some(number);
        self.save(disk, dir, masters)
    }

    /// Replaces the file; durable on return.
    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path, masters: &MasterKeys) -> Result<(), LogError> {
        let mut body = Vec::new();
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&VERSION.to_le_bytes());
        body.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        for (&number, key) in &self.keys {
            wrap(number, key, masters, &mut body)?;
        }
        let crc = crc32c::crc32c(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        replace_file(disk, dir, NAME, &[&body])
    }

    /// True if what is written is sealed.
    pub(crate) fn seals(&self) -> bool {
        self.current.is_some()
    }

    /// True if something ever was.
    pub(crate) fn can_seal(&self) -> bool {
        !self.keys.is_empty()
    }

    /// True if what was sealed there can never be opened again.
    pub(crate) fn is_erased(&self, number: u32, kind: Kind, place: u64) -> bool {
        matches!(self.keys.get(&number), Some(DataKey::Tree(tree)) if !tree.holds(leaf(kind, place)))
    }

    /// True if what is sealed there can be forgotten by itself.
    pub(crate) fn can_forget(&self, number: u32) -> bool {
        matches!(self.keys.get(&number), Some(DataKey::Tree(_)))
    }

    /// Forgets the keys of what is sealed with a data key, from one place to another, both included. It counts once it is saved.
    pub(crate) fn forget(&mut self, number: u32, kind: Kind, from: u64, to: u64) {
        if let Some(DataKey::Tree(tree)) = self.keys.get_mut(&number) {
            tree.forget(leaf(kind, from), leaf(kind, to));
        }
    }

    /// Forgets the keys of everything of a kind, but for those of some places, by data key. It counts once it is saved.
    pub(crate) fn retain(&mut self, kind: Kind, places: &BTreeMap<u32, BTreeSet<u64>>) {
        let nothing = BTreeSet::new();
        for (number, key) in &mut self.keys {
            if let DataKey::Tree(tree) = key {
                let kept = places.get(number).unwrap_or(&nothing);
                tree.retain(leaf(kind, 0), leaf(kind, u64::MAX), kept.iter().map(|&place| leaf(kind, place)));
            }
        }
    }

    /// Forgets the keys of everything of a kind but what is between two places, both included, by data key. It counts once
    /// it is saved.
    pub(crate) fn retain_between(&mut self, kind: Kind, places: &BTreeMap<u32, (u64, u64)>) {
        for (number, key) in &mut self.keys {
            let DataKey::Tree(tree) = key else { continue };
            let Some(&(first, last)) = places.get(number) else {
                tree.forget(leaf(kind, 0), leaf(kind, u64::MAX));
                continue;
            };
            if first > 0 {
                tree.forget(leaf(kind, 0), leaf(kind, first - 1));
            }
            if last < u64::MAX {
                tree.forget(leaf(kind, last + 1), leaf(kind, u64::MAX));
            }
        }
    }

    /// How many data keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Drops the data keys that are not needed. The newest one stays: its number is not given again.
    pub(crate) fn drop_unneeded(&mut self, is_needed: impl Fn(u32) -> bool) {
        let newest = self.keys.last_key_value().map(|(&number, _)| number);
        self.keys.retain(|&number, _| Some(number) == newest || is_needed(number));
    }

    fn cipher(&self, number: u32, kind: Kind, place: u64) -> Result<XChaCha20Poly1305, Missing> {
        let key = self.keys.get(&number).ok_or(Missing::Unknown(number))?;
        key.cipher(kind, place).ok_or(Missing::Erased)
    }

    /// Adds a sealed record body to `out`: number of the key, ciphertext, tag.
    pub(crate) fn seal_record(&self, position: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), LogError> {
        let number = self.current.ok_or_else(no_key)?;
        self.seal_record_with(number, position, body, out)
    }

    /// The same with the key that it once was sealed with: gives the same bytes.
    pub(crate) fn seal_record_with(
        &self,
        number: u32,
        position: u64,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), LogError> {
        let cipher = self.cipher(number, Kind::Record, position).map_err(|_| no_key())?;
        out.extend_from_slice(&number.to_le_bytes());
        let start = out.len();
        out.extend_from_slice(body);
        let sealed = cipher.encrypt_in_place_detached(&record_nonce(position), b"", &mut out[start..]);
        out.extend_from_slice(&sealed.map_err(|_| LogError::Invalid("a record is too large to be sealed".into()))?);
        Ok(())
    }

    /// Opens a sealed record body where it is. It is then behind the first four bytes, and so long. `None`: it was erased.
    pub(crate) fn open_record(&self, position: u64, body: &mut [u8]) -> Result<Option<usize>, String> {
        let Some(length) = body.len().checked_sub(OVERHEAD) else { return Err("a sealed record is cut".into()) };
        let number = u32_at(body, 0);
        let cipher = match self.cipher(number, Kind::Record, position) {
            Err(Missing::Erased) => return Ok(None),
            found => found.map_err(|missing| missing.text())?,
        };
        let (content, tag) = body[4..].split_at_mut(length);
        cipher
            .decrypt_in_place_detached(&record_nonce(position), b"", content, (&*tag).into())
            .map_err(|_| format!("it does not open with its data key {number}"))?;
        Ok(Some(length))
    }

    /// Seals `content`: number of the key, and nonce, ciphertext, tag. Number 0 and the content where nothing is sealed.
    pub(crate) fn seal(&self, kind: Kind, place: u64, content: Vec<u8>) -> Result<(u32, Vec<u8>), LogError> {
        self.seal_about(kind, place, b"", content)
    }

    /// The same; it opens only with the same `about`.
    pub(crate) fn seal_about(
        &self,
        kind: Kind,
        place: u64,
        about: &[u8],
        mut content: Vec<u8>,
    ) -> Result<(u32, Vec<u8>), LogError> {
        let Some(number) = self.current else { return Ok((0, content)) };
        let cipher = self.cipher(number, kind, place).map_err(|_| no_key())?;
        let nonce = random_nonce(kind)?;
        let sealed = cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), about, &mut content);
        let tag = sealed.map_err(|_| LogError::Invalid("too large to be sealed".into()))?;
        let mut out = Vec::with_capacity(NONCE_BYTES + content.len() + TAG_BYTES);
        out.extend_from_slice(&nonce);
        out.append(&mut content);
        out.extend_from_slice(&tag);
        Ok((number, out))
    }

    /// Undoes `seal`.
    pub(crate) fn open(&self, kind: Kind, place: u64, number: u32, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        self.open_about(kind, place, b"", number, stored)
    }

    /// Undoes `seal_about`.
    pub(crate) fn open_about(
        &self,
        kind: Kind,
        place: u64,
        about: &[u8],
        number: u32,
        stored: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        if number == 0 {
            return Ok(stored);
        }
        let cipher = self.cipher(number, kind, place).map_err(|missing| missing.text())?;
        let length = stored.len().checked_sub(NONCE_BYTES + TAG_BYTES).ok_or("it is cut")?;
        let (nonce, rest) = stored.split_at(NONCE_BYTES);
        let (content, tag) = rest.split_at(length);
        if nonce[NONCE_BYTES - 1] != kind as u8 {
            return Err("it was sealed as something else".into());
        }
        let mut content = content.to_vec();
        cipher
            .decrypt_in_place_detached(XNonce::from_slice(nonce), about, &mut content, tag.into())
            .map_err(|_| format!("it does not open with its data key {number}"))?;
        Ok(content)
    }
}

fn damage(reason: &str) -> LogError {
    LogError::damage(NAME, 0, 0, reason)
}

fn no_key() -> LogError {
    LogError::Key("a data key is not there".into())
}

fn record_nonce(position: u64) -> XNonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&position.to_le_bytes());
    nonce[NONCE_BYTES - 1] = Kind::Record as u8;
    nonce.into()
}

fn random_nonce(kind: Kind) -> Result<[u8; NONCE_BYTES], LogError> {
    let mut nonce = random::<NONCE_BYTES>().map_err(|error| LogError::io("getrandom", Path::new(NAME), &error))?;
    nonce[NONCE_BYTES - 1] = kind as u8;
    Ok(nonce)
}

/// An entry of the file.
struct Entry<'a> {
    number: u32,
    kind: u32,
    master: [u8; 8],
    nonce: &'a [u8],
    about: &'a [u8],
    /// Ciphertext and tag.
    wrapped: &'a [u8],
}

impl Entry<'_> {
    fn unwrap(&self, masters: &MasterKeys) -> Result<DataKey, LogError> {
        let number = self.number;
        let Some(master) = masters.find(self.master) else {
            return Err(LogError::Key(format!(
                "data key {number} is wrapped by the master key {}, which is not in the key file",
                id_text(self.master)
            )));
        };
        let broken = || damage(&format!("data key {number} does not unwrap"));
        let (wrapped, tag) = self.wrapped.split_last_chunk::<TAG_BYTES>().ok_or_else(broken)?;
        let mut content = wrapped.to_vec();
        master
            .cipher
            .decrypt_in_place_detached(XNonce::from_slice(self.nonce), self.about, &mut content, tag.into())
            .map_err(|_| broken())?;
        DataKey::decode(self.kind, &content).ok_or_else(broken)
    }
}

/// The first entry of version 1, and what follows it.
fn split_whole(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (entry, rest) = bytes.split_at_checked(WHOLE_ENTRY_BYTES)?;
    let found = Entry {
        number: u32_at(entry, 0),
        kind: DataKey::WHOLE,
        master: u64_at(entry, 4).to_le_bytes(),
        nonce: &entry[12..36],
        about: &entry[..4],
        wrapped: &entry[36..],
    };
    Some((found, rest))
}

/// The first entry, and what follows it.
fn split(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(ENTRY_HEAD_BYTES)?;
    let (wrapped, rest) = rest.split_at_checked((u32_at(head, 8) as usize).checked_add(TAG_BYTES)?)?;
    let found = Entry {
        number: u32_at(head, 0),
        kind: u32_at(head, 4),
        master: u64_at(head, 12).to_le_bytes(),
        nonce: &head[20..ENTRY_HEAD_BYTES],
        about: &head[..8],
        wrapped,
    };
    Some((found, rest))
}

fn wrap(number: u32, key: &DataKey, masters: &MasterKeys, out: &mut Vec<u8>) -> Result<(), LogError> {
    let master = masters.first().ok_or_else(no_key)?;
    let nonce = random_nonce(Kind::DataKey)?;
    let (kind, mut content) = key.encode();
    let size = u32::try_from(content.len()).map_err(|_| LogError::Invalid("a data key has too many parts".into()))?;
    let start = out.len();
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    let sealed = master.cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), &out[start..], &mut content);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&master.id);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&content);
    out.extend_from_slice(&sealed.map_err(|_| no_key())?);
    Ok(())
}
