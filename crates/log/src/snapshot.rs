//! Snapshots: opaque bytes that stand for all records before a position, so that recovery reads less.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::disk::{Disk, read_range, replace_file};
use crate::error::{Damage, LogError};
use crate::format::{Hash, VERSION, VERSION_SEALED, u32_at, u64_at};
use crate::seal::{Keyring, Kind};

/// Two, so that one can be damaged.
pub(crate) const KEPT: usize = 2;
const PREFIX: &str = "snapshot-";
const MAGIC: [u8; 8] = *b"apexsnap";
/// It is written once and read once: quick rather than small.
const LEVEL: i32 = 1;
const HEADER_BYTES: usize = 64;

/// What was found at open.
#[derive(Default)]
pub(crate) struct Found {
    /// Positions, ascending, of those that can be used.
    pub(crate) kept: Vec<u64>,
    pub(crate) newest: Option<(u64, Vec<u8>)>,
    /// Those that could not.
    pub(crate) damage: Vec<Damage>,
}

/// Stores one: as it is, or compressed and sealed where the keyring seals.
pub(crate) fn save(
    disk: &dyn Disk,
    dir: &Path,
    position: u64,
    bytes: &[u8],
    keyring: &Keyring,
) -> Result<(), LogError> {
    if !keyring.seals() {
        return write(disk, dir, position, 0, bytes);
    }
    let small = zstd::bulk::compress(bytes, LEVEL).map_err(|error| LogError::io("compress", dir, &error))?;
    let (key, sealed) = keyring.seal(Kind::Snapshot, position, small)?;
    write(disk, dir, position, key, &sealed)
}

/// `key`: number of the data key of sealed bytes, or 0.
fn write(disk: &dyn Disk, dir: &Path, position: u64, key: u32, bytes: &[u8]) -> Result<(), LogError> {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    let version = if key == 0 { VERSION } else { VERSION_SEALED };
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..16].copy_from_slice(&key.to_le_bytes());
    header[16..24].copy_from_slice(&position.to_le_bytes());
    header[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let hash = digest(&header[..32], bytes);
    header[32..].copy_from_slice(&hash);
    replace_file(disk, dir, &name(position), &[&header, bytes])
}

/// The newest that verifies, and what is kept.
pub(crate) fn find(disk: &dyn Disk, dir: &Path, names: &[String], keyring: &Keyring) -> Result<Found, LogError> {
    let mut found = Found { kept: names.iter().filter_map(|name| position(name)).collect(), ..Found::default() };
    found.kept.sort_unstable();
    while let Some(&position) = found.kept.last() {
        match load(disk, dir, position, keyring)? {
            Ok(bytes) => {
                found.newest = Some((position, bytes));
                break;
            }
            Err(reason) => {
                found.damage.push(Damage { segment: name(position), offset: 0, position, reason });
                found.kept.pop();
            }
        }
    }
    Ok(found)
}

/// Looks at those that are older than the newest, too.
pub(crate) fn check_rest(disk: &dyn Disk, dir: &Path, found: &mut Found, keyring: &Keyring) -> Result<(), LogError> {
    let newest = found.newest.as_ref().map(|(position, _)| *position);
    let mut kept = Vec::new();
    for &position in &found.kept {
        match if newest == Some(position) { Ok(Vec::new()) } else { load(disk, dir, position, keyring)? } {
            Ok(_) => kept.push(position),
            Err(reason) => found.damage.push(Damage { segment: name(position), offset: 0, position, reason }),
        }
    }
    found.kept = kept;
    Ok(())
}

/// Removes all files of snapshots but those of `kept`.
pub(crate) fn prune(disk: &dyn Disk, dir: &Path, kept: &[u64]) -> Result<(), LogError> {
    let names = disk.list(dir).map_err(|error| LogError::io("list", dir, &error))?;
    for name in names.iter().filter(|name| position(name).is_some_and(|position| !kept.contains(&position))) {
        let path = dir.join(name);
        disk.remove(&path).map_err(|error| LogError::io("remove", &path, &error))?;
    }
    Ok(())
}

/// Number of the data key that one is sealed with; 0 where it is not.
pub(crate) fn key(disk: &dyn Disk, dir: &Path, position: u64) -> Result<u32, LogError> {
    let path = dir.join(name(position));
    let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
    let mut header = Vec::new();
    read_range(file.as_ref(), 0, HEADER_BYTES, &mut header).map_err(|error| LogError::io("read", &path, &error))?;
    Ok(header.get(12..16).map_or(0, |word| u32_at(word, 0)))
}

fn load(disk: &dyn Disk, dir: &Path, position: u64, keyring: &Keyring) -> Result<Result<Vec<u8>, String>, LogError> {
    let path = dir.join(name(position));
    let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
    let size = file.size().map_err(|error| LogError::io("stat", &path, &error))?;
    let mut bytes = Vec::new();
    read_range(file.as_ref(), 0, size as usize, &mut bytes).map_err(|error| LogError::io("read", &path, &error))?;
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Err("the header is cut".into()));
    };
    if header[..8] != MAGIC || u64_at(header, 16) != position || u64_at(header, 24) != body.len() as u64 {
        return Ok(Err("its magic, position or length does not match".into()));
    }
    if !(VERSION..=VERSION_SEALED).contains(&u32_at(header, 8)) {
        return Ok(Err(format!("format version {} is not known to this program", u32_at(header, 8))));
    }
    if digest(&header[..32], body)[..] != header[32..] {
        return Ok(Err("its hash does not match".into()));
    }
    let (version, key) = (u32_at(header, 8), u32_at(header, 12));
    bytes.drain(..HEADER_BYTES);
    if version == VERSION {
        return Ok(Ok(bytes));
    }
    Ok(keyring.open(Kind::Snapshot, position, key, bytes).and_then(|small| {
        let mut bytes = Vec::new();
        let unpacked = zstd::stream::copy_decode(small.as_slice(), &mut bytes);
        unpacked.map(|()| bytes).map_err(|error| format!("it does not unpack: {error}"))
    }))
}

fn digest(header: &[u8], bytes: &[u8]) -> Hash {
    Sha256::new().chain_update(header).chain_update(bytes).finalize().into()
}

fn name(position: u64) -> String {
    format!("{PREFIX}{position:020}")
}

fn position(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX).filter(|digits| digits.len() == 20)?.parse().ok()
}
