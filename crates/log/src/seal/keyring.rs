//! The data keys: made at random, kept wrapped in the file `keys`, and what is done with them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305, XNonce};

use super::master::{MasterKeys, id_text};
use super::random;
use crate::disk::{Disk, read_range, replace_file};
use crate::error::LogError;
use crate::format::{u32_at, u64_at};

const NAME: &str = "keys";
const MAGIC: [u8; 8] = *b"apexkeys";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
/// Number, master key, nonce, wrapped key.
const ENTRY_BYTES: usize = 4 + 8 + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Of a sealed record: the number of its key and the tag.
pub(crate) const OVERHEAD: usize = 4 + TAG_BYTES;

/// What is sealed: the last byte of its nonce, so that a nonce of one kind is never one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The nonce is the position.
    Record = 1,
    /// The nonce is random, as of all that follow.
    Piece = 2,
    Snapshot = 3,
    DataKey = 4,
    Blob = 5,
}

/// Empty where nothing is encrypted.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: BTreeMap<u32, XChaCha20Poly1305>,
    /// The one that seals.
    current: Option<u32>,
    /// As they are in the file.
    entries: Vec<[u8; ENTRY_BYTES]>,
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
        let damage = |reason: &str| LogError::damage(NAME, 0, 0, reason);
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(damage("it is cut")) };
        if body.len() < HEAD_BYTES || body[..8] != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damage("its magic or checksum does not match"));
        }
        if u32_at(body, 8) != VERSION || body.len() != HEAD_BYTES + u32_at(body, 12) as usize * ENTRY_BYTES {
            return Err(damage("its version is not known to this program, or its size does not match"));
        }
        let mut ring = Keyring::default();
        for entry in body[HEAD_BYTES..].chunks_exact(ENTRY_BYTES) {
            let (number, key) = unwrap(entry, masters)?;
            ring.keys.insert(number, XChaCha20Poly1305::new(&key.into()));
            let mut kept = [0; ENTRY_BYTES];
            kept.copy_from_slice(entry);
            ring.entries.push(rewrapped(kept, number, &key, masters)?);
        }
        Ok(ring)
    }

    /// Makes the data key of this opening, and wraps all that are not yet with the first master key; durable on return.
    pub(crate) fn renew(&mut self, disk: &dyn Disk, dir: &Path, masters: &MasterKeys) -> Result<(), LogError> {
        if masters.is_empty() {
            return Ok(());
        }
        let number = self.keys.last_key_value().map_or(1, |(&last, _)| last + 1);
        let key = random::<KEY_BYTES>().map_err(|error| LogError::io("getrandom", dir, &error))?;
        self.keys.insert(number, XChaCha20Poly1305::new(&key.into()));
        self.entries.push(wrap(number, &key, masters)?);
        self.current = Some(number);
        let mut body = Vec::with_capacity(HEAD_BYTES + self.entries.len() * ENTRY_BYTES + 4);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&VERSION.to_le_bytes());
        body.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        body.extend(self.entries.iter().flatten());
        let crc = crc32c::crc32c(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        replace_file(disk, dir, NAME, &[&body])
    }

    /// True if what is written is sealed.
    pub(crate) fn seals(&self) -> bool {
        self.current.is_some()
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
        let cipher = self.keys.get(&number).ok_or_else(no_key)?;
        out.extend_from_slice(&number.to_le_bytes());
        let start = out.len();
        out.extend_from_slice(body);
        let sealed = cipher.encrypt_in_place_detached(&record_nonce(position), b"", &mut out[start..]);
        out.extend_from_slice(&sealed.map_err(|_| LogError::Invalid("a record is too large to be sealed".into()))?);
        Ok(())
    }

    /// Opens a sealed record body where it is. It is then behind the first four bytes, and so long.
    pub(crate) fn open_record(&self, position: u64, body: &mut [u8]) -> Result<usize, String> {
        let Some(length) = body.len().checked_sub(OVERHEAD) else { return Err("a sealed record is cut".into()) };
        let number = u32_at(body, 0);
        let Some(cipher) = self.keys.get(&number) else { return Err(format!("its data key {number} is not there")) };
        let (content, tag) = body[4..].split_at_mut(length);
        cipher
            .decrypt_in_place_detached(&record_nonce(position), b"", content, (&*tag).into())
            .map_err(|_| format!("it does not open with its data key {number}"))?;
        Ok(length)
    }

    /// Seals `content`: number of the key, and nonce, ciphertext, tag. Number 0 and the content where nothing is sealed.
    pub(crate) fn seal(&self, kind: Kind, content: Vec<u8>) -> Result<(u32, Vec<u8>), LogError> {
        self.seal_about(kind, b"", content)
    }

    /// The same; it opens only with the same `about`.
    pub(crate) fn seal_about(
        &self,
        kind: Kind,
        about: &[u8],
        mut content: Vec<u8>,
    ) -> Result<(u32, Vec<u8>), LogError> {
        let Some((number, cipher)) = self.current.and_then(|number| Some((number, self.keys.get(&number)?))) else {
            return Ok((0, content));
        };
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
    pub(crate) fn open(&self, kind: Kind, number: u32, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        self.open_about(kind, b"", number, stored)
    }

    /// Undoes `seal_about`.
    pub(crate) fn open_about(&self, kind: Kind, about: &[u8], number: u32, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        if number == 0 {
            return Ok(stored);
        }
        let Some(cipher) = self.keys.get(&number) else { return Err(format!("its data key {number} is not there")) };
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

fn wrap(number: u32, key: &[u8; KEY_BYTES], masters: &MasterKeys) -> Result<[u8; ENTRY_BYTES], LogError> {
    let master = masters.first().ok_or_else(no_key)?;
    let nonce = random_nonce(Kind::DataKey)?;
    let mut wrapped = *key;
    let about = number.to_le_bytes();
    let sealed = master.cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), &about, &mut wrapped);
    let tag = sealed.map_err(|_| no_key())?;
    let mut entry = [0; ENTRY_BYTES];
    entry[..4].copy_from_slice(&about);
    entry[4..12].copy_from_slice(&master.id);
    entry[12..36].copy_from_slice(&nonce);
    entry[36..68].copy_from_slice(&wrapped);
    entry[68..].copy_from_slice(&tag);
    Ok(entry)
}

fn unwrap(entry: &[u8], masters: &MasterKeys) -> Result<(u32, [u8; KEY_BYTES]), LogError> {
    let number = u32_at(entry, 0);
    let id = u64_at(entry, 4).to_le_bytes();
    let Some(master) = masters.find(id) else {
        return Err(LogError::Key(format!(
            "data key {number} is wrapped by the master key {}, which is not in the key file",
            id_text(id)
        )));
    };
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&entry[36..68]);
    master
        .cipher
        .decrypt_in_place_detached(XNonce::from_slice(&entry[12..36]), &entry[..4], &mut key, entry[68..].into())
        .map_err(|_| LogError::damage(NAME, 0, 0, format!("data key {number} does not unwrap")))?;
    Ok((number, key))
}

/// The entry, wrapped by the first master key if it is not.
fn rewrapped(
    entry: [u8; ENTRY_BYTES],
    number: u32,
    key: &[u8; KEY_BYTES],
    masters: &MasterKeys,
) -> Result<[u8; ENTRY_BYTES], LogError> {
    let is_first = masters.first().is_some_and(|first| first.id == entry[4..12]);
    if is_first { Ok(entry) } else { wrap(number, key, masters) }
}
