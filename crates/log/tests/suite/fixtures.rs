//! Bytes that the first version of the format wrote, kept in `tests/fixtures/v1`: they open for ever, and the same calls
//! write the same bytes for as long as the version is 1. `docs/formats/log.md` walks through them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apex_log::{Depth, Disk, Erasure, Log, MasterKeys, Options, RealDisk, View, erase};

use super::common::{Folder, PATIENCE, commit, contents, small};

const FILES: [&str; 5] =
    ["meta", "floor", "snapshot-00000000000000000003", "00000000000000000000.segment", "00000000000000000004.segment"];

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn options() -> Options {
    Options { segment_bytes: 4096, ..small() }
}

fn groups() -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![b"alpha".to_vec()],
        vec![b"beta".to_vec(), b"gamma".to_vec()],
        vec![vec![0xAB; 2000]],
        // Does not fit behind the others: begins the second segment.
        vec![vec![0xCD; 1900], "δ".as_bytes().to_vec()],
    ]
}

fn make(folder: &Path) {
    let (log, _) = Log::open(folder, Arc::new(RealDisk), options()).unwrap();
    for group in groups() {
        commit(&log, &group).unwrap();
        if log.durable() == 3 {
            log.save_snapshot(3, b"alpha beta gamma").unwrap();
        }
    }
    log.close().unwrap();
}

/// Segments are compared without the zeros at their end, which are not kept.
fn trimmed(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none() {
        return bytes;
    }
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes[..end].to_vec()
}

#[test]
fn the_bytes_of_version_1_are_read() {
    let folder = Folder::new("fixture-read");
    fs::create_dir_all(&folder.0).unwrap();
    for name in FILES {
        fs::copy(kept().join(name), folder.0.join(name)).unwrap();
    }
    let (log, recovered) = Log::open(&folder.0, Arc::new(RealDisk), options()).unwrap();
    assert_eq!((recovered.position, recovered.start, recovered.term), (6, 0, 2));
    assert_eq!(recovered.snapshot, Some((3, b"alpha beta gamma".to_vec())));
    assert_eq!(recovered.cut, None);
    assert_eq!(contents(&log, 0), groups().concat());
}

#[test]
fn the_same_calls_write_the_bytes_of_version_1() {
    let folder = Folder::new("fixture-write");
    make(&folder.0);
    if std::env::var_os("APEX_LOG_KEEP_FIXTURES").is_some() {
        // Only for a new version of the format, in a folder of its own.
        fs::create_dir_all(kept()).unwrap();
        for name in FILES {
            fs::write(kept().join(name), trimmed(&folder.0.join(name))).unwrap();
        }
    }
    for name in FILES {
        assert_eq!(trimmed(&folder.0.join(name)), trimmed(&kept().join(name)), "{name}");
    }
}

/// An encrypted log with an archive: its bytes are never the same again, so they are only read.
fn kept_sealed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v2")
}

fn sealed_options() -> Options {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    Options { archive_after_segments: 0, keys: MasterKeys::parse(key).unwrap(), ..options() }
}

fn make_sealed(folder: &Path) {
    let (log, _) = Log::open(folder, Arc::new(RealDisk), sealed_options()).unwrap();
    for group in groups() {
        commit(&log, &group).unwrap();
    }
    log.save_snapshot(4, b"four").unwrap();
    log.save_snapshot(5, b"five").unwrap();
    assert!(log.wait_archived(PATIENCE));
    log.close().unwrap();
}

#[test]
fn the_bytes_of_version_2_are_read() {
    if std::env::var_os("APEX_LOG_KEEP_FIXTURES").is_some() {
        let folder = Folder::new("fixture-sealed");
        make_sealed(&folder.0);
        fs::create_dir_all(kept_sealed()).unwrap();
        for file in fs::read_dir(&folder.0).unwrap().map(Result::unwrap).filter(|file| file.file_name() != "lock") {
            let is_segment = file.path().extension().is_some_and(|kind| kind == "segment");
            let bytes = if is_segment { trimmed(&file.path()) } else { fs::read(file.path()).unwrap() };
            fs::write(kept_sealed().join(file.file_name()), bytes).unwrap();
        }
    }
    let folder = Folder::new("fixture-read-sealed");
    fs::create_dir_all(&folder.0).unwrap();
    for file in fs::read_dir(kept_sealed()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.0.join(file.file_name())).unwrap();
    }
    assert!(folder.0.join("00000000000000000000.archive").exists());
    let (log, recovered) = Log::open(&folder.0, Arc::new(RealDisk), sealed_options()).unwrap();
    assert_eq!((recovered.position, recovered.start, recovered.term), (6, 0, 2));
    assert_eq!(recovered.snapshot, Some((5, b"five".to_vec())));
    assert_eq!(contents(&log, 0), groups().concat());
    drop(log);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let view = View::open(&folder.0, &disk, Depth::Everything, &sealed_options().keys).unwrap();
    assert_eq!(view.position, 6);
}

/// The same with keys of version 2, and with the second record and the fifth erased, of which the second is archived.
fn kept_erased() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v3")
}

fn make_erased(folder: &Path) {
    make_sealed(folder);
    let is_meant = |body: &[u8]| body == b"beta" || body.starts_with(&[0xCD]);
    let erasure = Erasure { below: 5, is_meant: &is_meant, blobs_of: None };
    let erased = erase(folder, &folder.join("blobs"), &RealDisk, &sealed_options().keys, &erasure).unwrap();
    assert_eq!((erased.records, erased.archives), (2, 1));
}

#[test]
fn the_bytes_of_keys_that_are_trees_and_of_erased_records_are_read() {
    if std::env::var_os("APEX_LOG_KEEP_FIXTURES").is_some() {
        let folder = Folder::new("fixture-erased");
        make_erased(&folder.0);
        fs::create_dir_all(kept_erased()).unwrap();
        for file in fs::read_dir(&folder.0).unwrap().map(Result::unwrap).filter(|file| file.file_name() != "lock") {
            let is_segment = file.path().extension().is_some_and(|kind| kind == "segment");
            let bytes = if is_segment { trimmed(&file.path()) } else { fs::read(file.path()).unwrap() };
            fs::write(kept_erased().join(file.file_name()), bytes).unwrap();
        }
    }
    let folder = Folder::new("fixture-read-erased");
    fs::create_dir_all(&folder.0).unwrap();
    for file in fs::read_dir(kept_erased()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.0.join(file.file_name())).unwrap();
    }
    let mut expected = groups().concat();
    expected[1].clear();
    expected[4].clear();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let view = View::open(&folder.0, &disk, Depth::Everything, &sealed_options().keys).unwrap();
    assert_eq!(view.scan(0).map(|record| record.unwrap().1).collect::<Vec<_>>(), expected);
    let (log, recovered) = Log::open(&folder.0, Arc::new(RealDisk), sealed_options()).unwrap();
    assert_eq!((recovered.position, recovered.snapshot), (6, Some((5, b"five".to_vec()))));
    assert_eq!(contents(&log, 0), expected);
}
