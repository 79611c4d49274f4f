//! Large values beside the log, named by what they are: the address is the SHA-256 of the content.
//!
//! Holds: putting (a file beside, synced, renamed, the folder synced), getting by pieces, the quota of a tenant.
//! May know: the disk seam and the keys of the log. Never: what the bytes mean, or who may read them.
//! In: bytes. Out: an address once they are durable.
//!
//! The bytes on disk are law: `docs/formats/blobs.md`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::disk::{Disk, DiskFile, UNFINISHED, read_range};
use crate::error::LogError;
use crate::format::{Hash, u32_at, u64_at};
use crate::queue::unpoisoned;
use crate::seal::{Keyring, Kind, random};

const MAGIC: [u8; 8] = *b"apexblob";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
/// Content in a piece. Each is sealed and checked by itself, so that a part can be read without the whole.
const PIECE_BYTES: usize = 64 << 10;
const CRC_BYTES: usize = 4;
const ID_BYTES: usize = 16;
const PREFIX: &str = "sha256:";

/// The name of a content: the SHA-256 of its bytes (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address([u8; 32]);

impl Address {
    /// Reads `sha256:` and 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Address> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        let is_lower = |digit: &u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
        if digits.len() != 64 || !digits.iter().all(is_lower) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Address(hash))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", hex(&self.0))
    }
}

/// What `finish` made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub address: Address,
    /// Bytes of the content.
    pub bytes: u64,
    /// The tenant had it already; nothing was written.
    pub existing: bool,
}

/// The blobs of a folder. Promises:
///
/// 1. What `finish` returned for is read back whole after `kill -9` and power loss.
/// 2. A blob is there as a whole or not at all; what a crash left half-written is gone after the next opening.
/// 3. The same content of a tenant is kept once. Tenants share nothing, not even the knowledge that a content is there.
/// 4. The contents of a tenant are never more than the quota together.
/// 5. Content that is not what its address says is `Damage`, never returned.
pub struct Blobs {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keyring: Arc<Keyring>,
    /// Bytes of content that a tenant may have.
    quota: u64,
    uploads: AtomicU64,
    keeping: Mutex<Keeping>,
}

#[derive(Default)]
struct Keeping {
    /// Bytes of content, by what stands for the tenant in names.
    used: HashMap<String, u64>,
    count: u64,
    /// A name whose sync failed: nothing is told durable any more.
    failure: Option<LogError>,
}

impl Blobs {
    /// Opens the folder or makes it, and counts what is there. The folder belongs to the owner of the log whose keyring
    /// it is; see [`crate::Log::open_blobs`].
    pub(crate) fn open(dir: &Path, disk: Arc<dyn Disk>, keyring: Arc<Keyring>, quota: u64) -> Result<Blobs, LogError> {
        disk.create_dir(dir).map_err(|error| LogError::io("create", dir, &error))?;
        let mut keeping = Keeping::default();
        for name in disk.list(dir).map_err(|error| LogError::io("list", dir, &error))? {
            let path = dir.join(&name);
            if name.ends_with(UNFINISHED) {
                disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
            } else if let Some((tenant, _)) = name.split_once('-') {
                let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
                match Header::read(file.as_ref(), &path, &name) {
                    // Its key was destroyed; a crash came before it was removed.
                    Ok(header) if keyring.is_erased(header.key, Kind::Blob, place(&header.id)) => {
                        disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
                    }
                    Ok(header) => keeping.add(tenant, header.bytes),
                    // Who asks for it is told; the others are served.
                    Err(LogError::Damage(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        // A name of the last owner may have been seen and not be durable yet.
        disk.sync_dir(dir).map_err(|error| LogError::io("sync", dir, &error))?;
        Ok(Blobs {
            disk,
            dir: dir.to_path_buf(),
            keyring,
            quota,
            uploads: AtomicU64::new(0),
            keeping: Mutex::new(keeping),
        })
    }

    /// Begins a blob of a tenant. Dropped before `finish`, nothing of it stays.
    ///
    /// # Errors
    /// `Io`.
    pub fn begin(&self, tenant: &str) -> Result<Upload<'_>, LogError> {
        let name = format!("{}{UNFINISHED}", self.uploads.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.join(name);
        let id = random().map_err(|error| LogError::io("getrandom", &path, &error))?;
        let file = self.disk.create(&path).map_err(|error| LogError::io("create", &path, &error))?;
        let tenant = tenant_part(tenant);
        let room = self.quota.saturating_sub(self.used_by(&tenant));
        Ok(Upload {
            blobs: self,
            tenant,
            path,
            file,
            id,
            room,
            hash: Sha256::new(),
            piece: Vec::new(),
            bytes: 0,
            end: HEADER_BYTES as u64,
            index: 0,
            key: 0,
            is_in_place: false,
        })
    }

    /// A blob of a tenant; `None` where the tenant has none of this name.
    ///
    /// # Errors
    /// `Damage` where its header does not verify; `Io`.
    pub fn get(&self, tenant: &str, address: Address) -> Result<Option<Blob<'_>>, LogError> {
        self.find(name_of(&tenant_part(tenant), address), address)
    }

    /// Bytes of content that a tenant has.
    pub fn used(&self, tenant: &str) -> u64 {
        self.used_by(&tenant_part(tenant))
    }

    /// Number of blobs, and the bytes of their contents.
    pub fn totals(&self) -> (u64, u64) {
        let keeping = unpoisoned(self.keeping.lock());
        (keeping.count, keeping.used.values().sum())
    }

    fn used_by(&self, tenant: &str) -> u64 {
        unpoisoned(self.keeping.lock()).used.get(tenant).copied().unwrap_or_default()
    }

    fn find(&self, name: String, address: Address) -> Result<Option<Blob<'_>>, LogError> {
        let path = self.dir.join(&name);
        let file = match self.disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(|error| LogError::io("open", &path, &error))?,
        };
        let header = Header::read(file.as_ref(), &path, &name)?;
        Ok(Some(Blob { keyring: &self.keyring, file, path, name, address, header }))
    }
}

impl Keeping {
    fn add(&mut self, tenant: &str, bytes: u64) {
        *self.used.entry(tenant.to_owned()).or_default() += bytes;
        self.count += 1;
    }
}

/// A blob that is being written.
pub struct Upload<'a> {
    blobs: &'a Blobs,
    tenant: String,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    id: [u8; ID_BYTES],
    /// What the quota leaves; beyond it nothing is written, and `finish` refuses unless the content is there.
    room: u64,
    hash: Sha256,
    /// Content that is not written yet, less than a piece.
    piece: Vec<u8>,
    bytes: u64,
    /// Where the next piece goes.
    end: u64,
    index: u64,
    key: u32,
    is_in_place: bool,
}

impl Upload<'_> {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&mut self, mut content: &[u8]) -> Result<(), LogError> {
        self.hash.update(content);
        self.bytes += content.len() as u64;
        while self.bytes <= self.room && !content.is_empty() {
            let (now, rest) = content.split_at(content.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            content = rest;
            if self.piece.len() == PIECE_BYTES {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    /// Makes it durable; on return it is there. `expected`: the address that it must have.
    ///
    /// # Errors
    /// `Invalid` where its address is another one, `Quota`, `Io`, `Poisoned`. Nothing is kept then.
    pub fn finish(mut self, expected: Option<Address>) -> Result<Stored, LogError> {
        let address = Address(std::mem::take(&mut self.hash).finalize().into());
        if let Some(expected) = expected.filter(|&expected| expected != address) {
            return Err(LogError::Invalid(format!("the content is {address}, not {expected}")));
        }
        if self.bytes <= self.room {
            self.write_piece()?;
            self.write_header()?;
        }
        let blobs = self.blobs;
        // One at a time from here on: what another thread sees is durable.
        let mut keeping = unpoisoned(blobs.keeping.lock());
        if let Some(cause) = &keeping.failure {
            return Err(LogError::Poisoned(Box::new(cause.clone())));
        }
        let name = name_of(&self.tenant, address);
        match blobs.find(name.clone(), address) {
            Ok(Some(_)) => return Ok(Stored { address, bytes: self.bytes, existing: true }),
            // One that cannot be read is replaced.
            Ok(None) | Err(LogError::Damage(_)) => {}
            Err(error) => return Err(error),
        }
        let used = keeping.used.get(&self.tenant).copied().unwrap_or_default();
        if self.bytes > self.room || self.bytes > blobs.quota.saturating_sub(used) {
            return Err(LogError::Quota { bytes: self.bytes, used, quota: blobs.quota });
        }
        let place = blobs.dir.join(&name);
        blobs.disk.rename(&self.path, &place).map_err(|error| LogError::io("rename", &place, &error))?;
        self.is_in_place = true;
        if let Err(error) = blobs.disk.sync_dir(&blobs.dir) {
            let error = LogError::io("sync", &blobs.dir, &error);
            keeping.failure = Some(error.clone());
            return Err(error);
        }
        keeping.add(&self.tenant, self.bytes);
        Ok(Stored { address, bytes: self.bytes, existing: false })
    }

    fn write_piece(&mut self) -> Result<(), LogError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let (key, mut stored) =
            self.blobs.keyring.seal_about(Kind::Blob, place(&self.id), &about(&self.id, self.index), piece)?;
        let crc = crc32c::crc32c(&stored);
        stored.extend_from_slice(&crc.to_le_bytes());
        self.file.write_at(&stored, self.end).map_err(|error| LogError::io("write", &self.path, &error))?;
        self.end += stored.len() as u64;
        self.index += 1;
        self.key = key;
        Ok(())
    }

    fn write_header(&self) -> Result<(), LogError> {
        let header = Header { key: self.key, bytes: self.bytes, id: self.id };
        self.file.write_at(&header.encode(), 0).map_err(|error| LogError::io("write", &self.path, &error))?;
        self.file.fdatasync().map_err(|error| LogError::io("fdatasync", &self.path, &error))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Only tidiness: what is left under this name is removed at the next open.
            let _ = self.blobs.disk.remove(&self.path);
        }
    }
}

/// A blob that is there.
pub struct Blob<'a> {
    keyring: &'a Keyring,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    name: String,
    address: Address,
    header: Header,
}

impl Blob<'_> {
    /// Bytes of its content.
    pub fn bytes(&self) -> u64 {
        self.header.bytes
    }

    /// The content from `offset` on, at most `bytes` of it; each piece that it touches verifies.
    ///
    /// # Errors
    /// `Damage`, `Io`.
    pub fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, LogError> {
        let end = offset.saturating_add(bytes).min(self.header.bytes);
        let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let index = at / PIECE_BYTES as u64;
            let piece = self.piece(index)?;
            let begin = index * PIECE_BYTES as u64;
            let to = (end - begin).min(piece.len() as u64);
            out.extend_from_slice(&piece[(at - begin) as usize..to as usize]);
            at = begin + to;
        }
        Ok(out)
    }

    /// All of it, which is what its address says.
    ///
    /// # Errors
    /// `Damage`, `Io`.
    pub fn read_whole(&self) -> Result<Vec<u8>, LogError> {
        let content = self.read(0, u64::MAX)?;
        if Sha256::digest(&content)[..] != self.address.0 {
            return Err(LogError::damage(&self.name, 0, 0, "its content is not what its address says"));
        }
        Ok(content)
    }

    fn piece(&self, index: u64) -> Result<Vec<u8>, LogError> {
        let content = (self.header.bytes - index * PIECE_BYTES as u64).min(PIECE_BYTES as u64) as usize;
        let size = content + self.header.overhead();
        let offset = HEADER_BYTES as u64 + index * (PIECE_BYTES + self.header.overhead()) as u64;
        let mut stored = Vec::new();
        read_range(self.file.as_ref(), offset, size, &mut stored)
            .map_err(|error| LogError::io("read", &self.path, &error))?;
        let damage = |reason: &str| LogError::damage(&self.name, offset, 0, reason);
        let Some((body, crc)) = stored.split_last_chunk::<CRC_BYTES>() else { return Err(damage("it is cut")) };
        if stored.len() != size || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(damage("the checksum of a piece does not match"));
        }
        stored.truncate(size - CRC_BYTES);
        self.keyring
            .open_about(Kind::Blob, place(&self.header.id), &about(&self.header.id, index), self.header.key, stored)
            .map_err(|reason| damage(&reason))
    }
}

/// The first bytes of a file.
struct Header {
    /// Number of the data key; 0 where it is not sealed.
    key: u32,
    /// Of the content.
    bytes: u64,
    /// Drawn at random: pieces of two files cannot be exchanged.
    id: [u8; ID_BYTES],
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.key.to_le_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..40].copy_from_slice(&self.id);
        let crc = crc32c::crc32c(&out[..44]);
        out[44..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn read(file: &dyn DiskFile, path: &Path, name: &str) -> Result<Header, LogError> {
        let mut head = Vec::new();
        read_range(file, 0, HEADER_BYTES, &mut head).map_err(|error| LogError::io("read", path, &error))?;
        let size = file.size().map_err(|error| LogError::io("stat", path, &error))?;
        let damage = |reason: &str| LogError::damage(name, 0, 0, reason);
        if head.len() != HEADER_BYTES || head[..8] != MAGIC || crc32c::crc32c(&head[..44]) != u32_at(&head, 44) {
            return Err(damage("its magic or checksum does not match"));
        }
        if u32_at(&head, 8) != VERSION {
            return Err(damage("its version is not known to this program"));
        }
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&head[24..40]);
        let header = Header { key: u32_at(&head, 12), bytes: u64_at(&head, 16), id };
        let pieces = header.bytes.div_ceil(PIECE_BYTES as u64);
        let stored = header.bytes.saturating_add(pieces.saturating_mul(header.overhead() as u64));
        if stored.checked_add(HEADER_BYTES as u64) != Some(size) {
            return Err(damage("its size does not match"));
        }
        Ok(header)
    }

    /// Bytes that a piece takes beside its content.
    fn overhead(&self) -> usize {
        CRC_BYTES + if self.key == 0 { 0 } else { Keyring::SEAL_BYTES }
    }
}

/// Where the key of a file stands.
fn place(id: &[u8; ID_BYTES]) -> u64 {
    u64_at(id, 0)
}

/// What a sealed piece is sealed with: which one of which file it is.
fn about(id: &[u8; ID_BYTES], index: u64) -> [u8; ID_BYTES + 8] {
    let mut about = [0; ID_BYTES + 8];
    about[..ID_BYTES].copy_from_slice(id);
    about[ID_BYTES..].copy_from_slice(&index.to_le_bytes());
    about
}

/// A file of the folder: whose, and what.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// What it is sealed with: number of the data key, and place; `None` where it is not.
    pub(crate) seal: Option<(u32, u64)>,
}

impl Found {
    pub(crate) fn is_of(&self, tenant: &str) -> bool {
        self.name.split_once('-').is_some_and(|(part, _)| part == tenant_part(tenant))
    }

    pub(crate) fn address(&self) -> Option<Address> {
        Address::parse(&format!("{PREFIX}{}", self.name.split_once('-')?.1))
    }
}

/// All blobs in a folder, which may not be there. One whose header does not verify is left out: nothing of it can be read.
pub(crate) fn all(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, LogError> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(|error| LogError::io("list", dir, &error))?,
    };
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| name.contains('-') && !name.ends_with(UNFINISHED)) {
        let path = dir.join(&name);
        let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
        match Header::read(file.as_ref(), &path, &name) {
            Ok(header) => {
                let seal = (header.key != 0).then(|| (header.key, place(&header.id)));
                found.push(Found { name, bytes: header.bytes, seal });
            }
            Err(LogError::Damage(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What stands for a tenant in names: the name of a tenant may hold what the name of a file may not.
fn tenant_part(tenant: &str) -> String {
    let hash: Hash = Sha256::digest(tenant.as_bytes()).into();
    hex(&hash[..16])
}

fn name_of(tenant: &str, address: Address) -> String {
    format!("{tenant}-{}", hex(&address.0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
