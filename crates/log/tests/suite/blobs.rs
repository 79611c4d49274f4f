//! Blobs: whole or not at all through crashes at every change, once for each content, within the quota, sealed.

use std::path::Path;

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Address, Blobs, Disk, Log, LogError, MasterKeys, Options, Stored};

use super::common::{Random, open, small};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const QUOTA: u64 = 1 << 20;
const PIECE: usize = 64 << 10;

fn dir() -> &'static Path {
    Path::new("/blobs")
}

fn options(is_sealed: bool) -> Options {
    let keys = if is_sealed { MasterKeys::parse(KEY).unwrap() } else { MasterKeys::default() };
    Options { keys, ..small() }
}

fn house(disk: &FaultyDisk, is_sealed: bool) -> Result<(Log, Blobs), LogError> {
    let (log, _) = open(disk, &options(is_sealed))?;
    let blobs = log.open_blobs(dir(), QUOTA)?;
    Ok((log, blobs))
}

fn put(blobs: &Blobs, tenant: &str, content: &[u8]) -> Result<Stored, LogError> {
    let mut upload = blobs.begin(tenant)?;
    for part in content.chunks(10_007) {
        upload.write(part)?;
    }
    upload.finish(None)
}

fn get(blobs: &Blobs, tenant: &str, address: Address) -> Option<Vec<u8>> {
    blobs.get(tenant, address).unwrap().map(|blob| blob.read_whole().unwrap())
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    disk.list(dir()).unwrap()
}

#[test]
fn what_was_put_is_read_back_whole_and_in_parts_also_after_a_crash() {
    for is_sealed in [false, true] {
        let disk = FaultyDisk::new(1);
        let (log, blobs) = house(&disk, is_sealed).unwrap();
        let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17];
        let stored: Vec<Stored> =
            sizes.iter().map(|&bytes| put(&blobs, "a", &content(bytes as u64, bytes)).unwrap()).collect();
        drop((blobs, log));
        disk.crash();
        let (_log, blobs) = house(&disk, is_sealed).unwrap();
        for (stored, &bytes) in stored.iter().zip(&sizes) {
            let whole = content(bytes as u64, bytes);
            assert_eq!((stored.bytes, stored.existing), (bytes as u64, false));
            assert_eq!(get(&blobs, "a", stored.address), Some(whole.clone()));
            let blob = blobs.get("a", stored.address).unwrap().unwrap();
            for (from, to) in
                [(0, 10), (PIECE - 3, PIECE + 3), (PIECE, 2 * PIECE), (bytes.saturating_sub(2), bytes + 9)]
            {
                let range = from.min(bytes)..to.min(bytes);
                assert_eq!(blob.read(from as u64, (to - from) as u64).unwrap(), whole[range], "{from} to {to}");
            }
        }
        assert_eq!(blobs.used("a"), sizes.iter().sum::<usize>() as u64);
        assert_eq!(blobs.totals(), (sizes.len() as u64, blobs.used("a")));
    }
}

#[test]
fn power_lost_at_any_change_keeps_what_was_told_durable_and_nothing_in_part() {
    for is_sealed in [false, true] {
        for seed in 0..4 {
            let mut cut = 1;
            loop {
                let disk = FaultyDisk::new(seed);
                let (log, blobs) = house(&disk, is_sealed).unwrap();
                let first = put(&blobs, "a", &content(1, PIECE + 5)).unwrap();
                disk.plan(Faults { power_off_at: Some(cut), ..Faults::default() });
                let second = put(&blobs, "a", &content(2, 2 * PIECE + 5));
                let is_over = second.is_ok() && disk.changes() < cut;
                drop((blobs, log));
                disk.crash();
                let (_log, blobs) = house(&disk, is_sealed).unwrap();
                assert_eq!(get(&blobs, "a", first.address), Some(content(1, PIECE + 5)), "seed {seed}, change {cut}");
                if let Ok(second) = second {
                    assert_eq!(get(&blobs, "a", second.address), Some(content(2, 2 * PIECE + 5)));
                }
                assert!(files(&disk).iter().all(|name| !name.ends_with(".new")), "seed {seed}, change {cut}");
                let again = put(&blobs, "a", &content(2, 2 * PIECE + 5)).unwrap();
                assert_eq!(get(&blobs, "a", again.address), Some(content(2, 2 * PIECE + 5)));
                assert_eq!(blobs.used("a"), (3 * PIECE + 10) as u64);
                if is_over {
                    break;
                }
                cut += 1;
            }
            assert!(cut > 5);
        }
    }
}

#[test]
fn a_failed_write_or_sync_is_told_and_the_content_is_not_called_durable() {
    for nth in 1..=2 {
        let disk = FaultyDisk::new(3);
        let (log, blobs) = house(&disk, false).unwrap();
        disk.plan(Faults { fail_sync_at: Some(nth), ..Faults::default() });
        assert!(matches!(put(&blobs, "a", b"content"), Err(LogError::Io { .. })));
        let again = put(&blobs, "a", b"content");
        // Of the file: it was never named, and is written anew. Of the folder: nothing is promised until it is opened again.
        assert_eq!(again.is_ok(), nth == 1);
        assert!(nth == 1 || matches!(again, Err(LogError::Poisoned(_))));
        drop((blobs, log));
        disk.crash();
        let (_log, blobs) = house(&disk, false).unwrap();
        let stored = put(&blobs, "a", b"content").unwrap();
        assert_eq!(get(&blobs, "a", stored.address), Some(b"content".to_vec()));
    }
    let disk = FaultyDisk::new(3);
    let (_log, blobs) = house(&disk, false).unwrap();
    disk.plan(Faults { fail_write_at: Some(1), ..Faults::default() });
    assert!(matches!(put(&blobs, "a", b"content"), Err(LogError::Io { .. })));
    assert!(files(&disk).is_empty());
}

#[test]
fn a_content_is_kept_once_for_each_tenant_who_know_nothing_of_each_other() {
    let disk = FaultyDisk::new(1);
    let (_log, blobs) = house(&disk, false).unwrap();
    let first = put(&blobs, "a", b"the same").unwrap();
    let again = put(&blobs, "a", b"the same").unwrap();
    assert_eq!(again, Stored { existing: true, ..first });
    assert_eq!((files(&disk).len(), blobs.used("a"), blobs.used("b")), (1, 8, 0));
    assert!(blobs.get("b", first.address).unwrap().is_none());
    assert!(!put(&blobs, "b", b"the same").unwrap().existing);
    assert_eq!(get(&blobs, "b", first.address), Some(b"the same".to_vec()));
}

#[test]
fn over_the_quota_nothing_is_kept_but_what_is_there_may_be_put_again() {
    let disk = FaultyDisk::new(1);
    let (log, blobs) = house(&disk, false).unwrap();
    let large = content(1, QUOTA as usize - 10);
    put(&blobs, "a", &large).unwrap();
    match put(&blobs, "a", &content(2, 11)) {
        Err(LogError::Quota { bytes, used, quota }) => assert_eq!((bytes, used, quota), (11, QUOTA - 10, QUOTA)),
        other => panic!("{other:?}"),
    }
    assert!(put(&blobs, "a", &large).unwrap().existing);
    put(&blobs, "a", &content(3, 10)).unwrap();
    put(&blobs, "b", &content(2, 11)).unwrap();
    drop((blobs, log));
    let (_log, blobs) = house(&disk, false).unwrap();
    assert_eq!((blobs.used("a"), blobs.used("b")), (QUOTA, 11));
    assert!(matches!(put(&blobs, "a", b"x"), Err(LogError::Quota { .. })));
    assert_eq!(files(&disk).len(), 3);
}

#[test]
fn another_content_than_the_expected_one_is_refused() {
    let disk = FaultyDisk::new(1);
    let (_log, blobs) = house(&disk, false).unwrap();
    let expected = put(&blobs, "b", b"expected").unwrap().address;
    let mut upload = blobs.begin("a").unwrap();
    upload.write(b"another").unwrap();
    assert!(matches!(upload.finish(Some(expected)), Err(LogError::Invalid(_))));
    let mut upload = blobs.begin("a").unwrap();
    upload.write(b"expected").unwrap();
    assert_eq!(upload.finish(Some(expected)).unwrap().address, expected);
    assert_eq!(files(&disk).len(), 2);
    assert_eq!(Address::parse(&expected.to_string()), Some(expected));
    for text in ["", "sha256:", "sha256:00", &expected.to_string().to_uppercase(), &expected.to_string()[7..]] {
        assert_eq!(Address::parse(text), None, "{text}");
    }
}

#[test]
fn a_changed_bit_is_named_and_never_returned() {
    for is_sealed in [false, true] {
        let disk = FaultyDisk::new(1);
        let (_log, blobs) = house(&disk, is_sealed).unwrap();
        let whole = content(1, PIECE + 100);
        let address = put(&blobs, "a", &whole).unwrap().address;
        let path = dir().join(&files(&disk)[0]);
        let size = disk.bytes(&path).unwrap().len();
        for byte in [0, 9, 13, 17, 30, 46, 48, 100, 48 + PIECE, size - 1] {
            disk.flip(&path, byte, 3);
            let read = blobs.get("a", address).and_then(|blob| blob.unwrap().read_whole());
            assert!(matches!(read, Err(LogError::Damage(_))), "byte {byte}");
            disk.flip(&path, byte, 3);
        }
        assert_eq!(get(&blobs, "a", address), Some(whole));
    }
}

#[test]
fn sealed_content_stands_in_no_file_and_pieces_cannot_be_exchanged() {
    let disk = FaultyDisk::new(1);
    let (log, blobs) = house(&disk, true).unwrap();
    let secret = b"secret ".repeat(40_000);
    let address = put(&blobs, "a", &secret).unwrap().address;
    let path = dir().join(&files(&disk)[0]);
    let bytes = disk.bytes(&path).unwrap();
    assert!(!bytes.windows(6).any(|part| part == b"secret"));
    let stored = PIECE + 24 + 16 + 4;
    disk.edit(&path, |bytes| bytes[48..48 + 2 * stored].rotate_left(stored));
    assert!(matches!(blobs.get("a", address).unwrap().unwrap().read(0, 10), Err(LogError::Damage(_))));
    disk.edit(&path, |bytes| bytes[48..48 + 2 * stored].rotate_left(stored));
    drop((blobs, log));
    // What an earlier opening sealed is read with its key, and what was written in the clear stays readable.
    let (_log, blobs) = house(&disk, true).unwrap();
    assert_eq!(get(&blobs, "a", address), Some(secret));
}
