//! Encryption at rest.
//!
//! Holds: the master keys (the owner's key file), the data keys that they wrap (the file `keys`), and sealing and opening
//! with them. XChaCha20-Poly1305 throughout (draft-irtf-cfrg-xchacha-03): its nonces are long enough to be random.
//! A data key belongs to one opening of the log and to no other, so a position is sealed with it at most once. What is
//! sealed with it has a key of its own below it (`tree.rs`), so that it can be erased.

mod keyring;
mod master;
mod tree;

pub(crate) use keyring::{Keyring, Kind, OVERHEAD};
pub use master::MasterKeys;

/// Fills with bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut have = 0;
    while have < N {
        match rustix::rand::getrandom(&mut bytes[have..], rustix::rand::GetRandomFlags::empty()) {
            Ok(read) => have += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
