//! The id of a run: a UUIDv7 (RFC 9562) whose `rand_a` bits carry the partition, so that any process routes by it alone.

use std::fmt;

/// Id of a run. All zero: the registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RunId(pub [u8; 16]);

impl Ord for RunId {
    /// As one number: comparing bytes one by one was 7 % of a routing decision (perf, `examples/route.rs`).
    fn cmp(&self, other: &RunId) -> std::cmp::Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for RunId {
    fn partial_cmp(&self, other: &RunId) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl RunId {
    /// The registry's "run".
    pub const REGISTRY: RunId = RunId([0; 16]);

    /// A new id. `random`: 62 bits of it are used. Partitions are numbered below 4,096 (`rand_a` has 12 bits).
    #[must_use]
    pub fn new_v7(unix_ms: u64, partition: u16, random: u64) -> RunId {
        let high = (unix_ms << 16) | 0x7000 | u64::from(partition & 0x0fff);
        let low = (1 << 63) | (random & 0x3fff_ffff_ffff_ffff);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        RunId(bytes)
    }

    /// The partition that it carries.
    #[must_use]
    pub fn partition(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]]) & 0x0fff
    }

    /// The time that it carries, ms since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 80) as u64
    }

    /// Reads the form 8-4-4-4-12 in hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<RunId> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0u8; 16];
        let mut nibbles = 0;
        for (at, &byte) in text.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = (byte as char).to_digit(16)? as u8;
            bytes[nibbles / 2] = (bytes[nibbles / 2] << 4) | digit;
            nibbles += 1;
        }
        Some(RunId(bytes))
    }

    /// The text form, made without going through `fmt`: a job's key holds it.
    fn text(&self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = [b'-'; 36];
        for (&byte, to) in self.0.iter().zip(PLACES) {
            text[to] = DIGITS[usize::from(byte >> 4)];
            text[to + 1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }

    /// Appends the text form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }

    /// Appends the text form to a string.
    pub fn write_str(&self, out: &mut String) {
        out.push_str(std::str::from_utf8(&self.text()).unwrap_or_default());
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_str(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 64 bits that follow from two texts and a number: FNV-1a over the texts, with a zero byte between them, and the
/// number, finished as MurmurHash3 does (FNV mixes late bytes poorly).
pub(crate) fn mix(first: &str, second: &str, number: u64) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = first.bytes().chain(std::iter::once(0)).chain(second.bytes());
    for byte in bytes.chain(number.to_le_bytes().into_iter().filter(|_| number != 0)) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The partition that a start with an idempotency key goes to: every process sends the same tenant and key there.
#[must_use]
pub fn partition_of_key(tenant: &str, key: &str, partitions: u16) -> u16 {
    (mix(tenant, key, 0) % u64::from(partitions.max(1))) as u16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_form_is_a_uuid_v7_that_carries_the_partition() {
        let id = RunId::new_v7(0x0191_2345_6789, 63, u64::MAX);
        let text = id.to_string();
        assert_eq!(text, "01912345-6789-703f-bfff-ffffffffffff");
        assert_eq!(RunId::parse(&text), Some(id));
        assert_eq!(id.partition(), 63);
        let mut bytes = Vec::new();
        id.write(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        for bad in [
            "",
            "01912345-6789-703f-bfff-fffffffffff",
            "01912345+6789-703f-bfff-ffffffffffff",
            "x1912345-6789-703f-bfff-ffffffffffff",
        ] {
            assert_eq!(RunId::parse(bad), None);
        }
    }

    #[test]
    fn every_version_sends_a_key_to_the_same_partition() {
        assert_eq!(mix("", "", 0), 0xb903_4ad3_7056_f5fb);
        assert_eq!(mix("default", "key-1", 0), 0x804b_df9c_e435_a2a0);
        assert_eq!(mix("t", "k", 7), 0x1e3b_4eb1_70de_d157);
        assert_eq!(partition_of_key("t", "k", 64), 54);
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut hits = [0u32; 64];
        for n in 0..6_400 {
            hits[usize::from(partition_of_key("default", &format!("key-{n}"), 64))] += 1;
        }
        assert!(hits.iter().all(|&n| (50..200).contains(&n)), "{hits:?}");
    }
}
