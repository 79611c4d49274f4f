//! The address of an IR.

use sha2::{Digest, Sha256};

/// Goes up with every change of the compiler that changes what an IR means.
pub const COMPILER_VERSION: u32 = 1;

/// SHA-256 over the compiler version and the canonical bytes of a definition.
#[must_use]
pub fn ir_hash(canonical: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"apex-ir\0");
    hasher.update(COMPILER_VERSION.to_le_bytes());
    hasher.update(canonical);
    hasher.finalize().into()
}

/// A hash as a content address, `sha256:<hex>`.
#[must_use]
pub fn address(hash: &[u8; 32]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}
