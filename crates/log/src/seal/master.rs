//! The keys of the key file. They wrap data keys and nothing else.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use sha2::{Digest, Sha256};

use crate::error::LogError;

const KEY_BYTES: usize = 32;

/// The first wraps, all unwrap. Empty: nothing is encrypted. Never shows itself.
#[derive(Clone, Default)]
pub struct MasterKeys(Arc<Vec<MasterKey>>);

pub(super) struct MasterKey {
    /// The first bytes of a hash of it: says which it is, and not what.
    pub(super) id: [u8; 8],
    pub(super) cipher: XChaCha20Poly1305,
}

impl MasterKeys {
    /// Reads a key file: a key a line, 32 bytes as 64 hexadecimal digits or as base64 (RFC 4648); `#` begins a comment.
    ///
    /// # Errors
    /// `Key`, naming the line.
    pub fn parse(text: &str) -> Result<MasterKeys, LogError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let key = hex(line).or_else(|| base64(line)).ok_or_else(|| {
                LogError::Key(format!("line {} of the key file is no key: 32 bytes, as hex or base64", number + 1))
            })?;
            let hash: [u8; 32] =
                Sha256::new().chain_update(b"apex_fast master key").chain_update(key).finalize().into();
            let mut id = [0; 8];
            id.copy_from_slice(&hash[..8]);
            keys.push(MasterKey { id, cipher: XChaCha20Poly1305::new(&key.into()) });
        }
        if keys.is_empty() {
            return Err(LogError::Key("the key file holds no key".into()));
        }
        Ok(MasterKeys(Arc::new(keys)))
    }

    /// True where nothing is to be encrypted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&MasterKey> {
        self.0.first()
    }

    pub(super) fn find(&self, id: [u8; 8]) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| id_text(key.id))).finish()
    }
}

impl PartialEq for MasterKeys {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|key| key.id).eq(other.0.iter().map(|key| key.id))
    }
}

impl Eq for MasterKeys {}

pub(super) fn id_text(id: [u8; 8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn base64(text: &str) -> Option<[u8; KEY_BYTES]> {
    let text = text.trim_end_matches('=');
    let mut bits = 0_u32;
    let mut held = 0;
    let mut out = Vec::with_capacity(KEY_BYTES);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out.try_into().ok().filter(|_| bits == 0)
}
