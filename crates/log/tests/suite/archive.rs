//! Archives: every record is still there, byte for byte, whatever happens while one is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Depth, Disk, Log, LogError, MasterKeys, Options, View};

use super::common::{PATIENCE, Random, batch, commit, contents, folder, open, small};

fn options() -> Options {
    Options { segment_bytes: 8192, archive_after_segments: 0, ..small() }
}

fn files(disk: &FaultyDisk, suffix: &str) -> Vec<PathBuf> {
    let mut names = disk.list(folder()).unwrap();
    names.retain(|name| name.ends_with(suffix));
    names.sort();
    names.iter().map(|name| folder().join(name)).collect()
}

fn body(position: u64) -> Vec<u8> {
    format!("record {position}: ").into_bytes().repeat(12)
}

fn write(log: &Log, from: u64, to: u64) {
    for position in (from..to).step_by(2) {
        commit(log, &[body(position), body(position + 1)]).unwrap();
    }
}

fn view(disk: &FaultyDisk) -> Result<View, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    View::open(folder(), &disk, Depth::Everything, &MasterKeys::default())
}

/// Two hundred records, of which those below 160 may be archived.
fn archived(disk: &FaultyDisk) -> Log {
    let (log, _) = open(disk, &options()).unwrap();
    write(&log, 0, 200);
    log.save_snapshot(160, b"state at 160").unwrap();
    log.save_snapshot(200, b"state at 200").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(log.stats().archive_failures, 0);
    assert!(log.stats().archives >= 2);
    log
}

fn all() -> Vec<Vec<u8>> {
    (0..200).map(body).collect()
}

#[test]
fn what_is_archived_is_read_as_before_in_any_order() {
    let disk = FaultyDisk::new(1);
    let log = archived(&disk);
    assert_eq!(files(&disk, ".archive").len() as u64, log.stats().archives);
    assert_eq!(files(&disk, ".segment").len() as u64, log.stats().segments - log.stats().archives);
    assert_eq!(contents(&log, 0), all());
    for position in (0..200).rev() {
        assert_eq!(log.read(position).unwrap(), Some(body(position)));
        let mut scan = log.scan(position);
        assert_eq!(scan.next().unwrap().unwrap(), (position, body(position)));
    }
    drop(log);
    disk.crash();
    let (log, recovered) = open(&disk, &options()).unwrap();
    assert_eq!(recovered.position, 200);
    assert_eq!(contents(&log, 0), all());
    write(&log, 200, 220);
    drop(log);
    let view = view(&disk).unwrap();
    assert_eq!(view.scan(0).count(), 220);
    assert_eq!(view.place(3).unwrap().0, "00000000000000000000.archive");
}

#[test]
fn an_archive_is_smaller_than_its_segment() {
    let disk = FaultyDisk::new(1);
    let log = archived(&disk);
    drop(log);
    let size: usize = files(&disk, ".archive").iter().map(|path| disk.bytes(path).unwrap().len()).sum();
    // The hashes of its groups are what does not shrink.
    assert!(size < all().concat().len() / 3, "{size} bytes for {}", all().concat().len());
}

#[test]
fn the_newest_segments_and_those_above_the_older_snapshot_stay_as_they_are() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &Options { archive_after_segments: 1, ..options() }).unwrap();
    write(&log, 0, 200);
    log.save_snapshot(160, b"state at 160").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(log.stats().archives, 0, "one snapshot may be damaged");
    log.save_snapshot(200, b"state at 200").unwrap();
    assert!(log.wait_archived(PATIENCE));
    let bases: Vec<u64> = files(&disk, ".segment")
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    assert!(bases.iter().any(|&base| base < 160), "{bases:?}");
    assert!(log.stats().archives >= 1);
}

#[test]
fn archives_are_trimmed_like_segments() {
    let disk = FaultyDisk::new(1);
    let log = archived(&disk);
    let start = log.trim(100).unwrap();
    assert!(start > 0);
    assert_eq!(log.read(start - 1), Err(LogError::Trimmed { start }));
    assert_eq!(contents(&log, start), all()[start as usize..]);
    drop(log);
    disk.crash();
    let (log, recovered) = open(&disk, &options()).unwrap();
    assert_eq!(recovered.start, start);
    assert_eq!(contents(&log, start), all()[start as usize..]);
    assert_eq!(view(&disk).map(|view| view.start), Ok(start));
}

#[test]
fn a_flipped_bit_in_an_archive_is_named_and_never_served() {
    let sample = FaultyDisk::new(1);
    drop(archived(&sample));
    let path = files(&sample, ".archive").remove(0);
    let size = sample.bytes(&path).unwrap().len();
    for byte in 0..size {
        let disk = sample.copy(1);
        disk.flip(&path, byte, (byte % 8) as u8);
        match view(&disk).map(|_| ()) {
            Err(LogError::Damage(damage)) => assert_eq!(folder().join(damage.segment), path),
            other => panic!("byte {byte}: {other:?}"),
        }
        // The gateway starts where a snapshot stands for it; what is read is right or an error.
        match open(&disk, &options()) {
            Err(LogError::Damage(damage)) => assert_eq!(folder().join(damage.segment), path),
            Err(error) => panic!("{error}"),
            Ok((log, _)) => {
                for position in [0, 5] {
                    match log.read(position) {
                        Ok(found) => assert_eq!(found, Some(body(position)), "byte {byte}"),
                        Err(LogError::Damage(damage)) => assert_eq!(folder().join(damage.segment), path),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_damaged_segment_is_not_archived() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &Options { archive_after_segments: u64::MAX, ..options() }).unwrap();
    write(&log, 0, 200);
    log.save_snapshot(160, b"state at 160").unwrap();
    log.save_snapshot(200, b"state at 200").unwrap();
    drop(log);
    let first = files(&disk, ".segment").remove(0);
    disk.flip(&first, 100, 1);
    let (log, _) = open(&disk, &options()).unwrap();
    log.save_snapshot(200, b"state at 200").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(log.stats().archive_failures, 1);
    assert_eq!(files(&disk, ".segment")[0], first, "it is evidence");
    drop(log);
    assert!(
        matches!(view(&disk).map(|_| ()), Err(LogError::Damage(damage)) if folder().join(&damage.segment) == first)
    );
}

#[test]
fn a_full_disk_stops_archiving_and_nothing_else() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &Options { archive_after_segments: u64::MAX, ..options() }).unwrap();
    write(&log, 0, 200);
    log.save_snapshot(160, b"state at 160").unwrap();
    log.save_snapshot(198, b"state at 198").unwrap();
    drop(log);
    let (log, _) = open(&disk, &options()).unwrap();
    commit(&log, &[b"before".to_vec()]).unwrap();
    log.save_snapshot(200, b"state at 200").unwrap();
    let failed = || log.stats().archive_failures;
    assert!(log.wait_archived(PATIENCE));
    let archives = log.stats().archives;
    disk.plan(Faults { fail_write_at: Some(3), ..Faults::default() });
    log.save_snapshot(201, b"state at 201").unwrap();
    assert!(log.wait_archived(PATIENCE));
    disk.plan(Faults::default());
    assert!(failed() <= 1);
    commit(&log, &[b"goes on".to_vec()]).unwrap();
    log.save_snapshot(202, b"state at 202").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert!(log.stats().archives >= archives);
    assert_eq!(contents(&log, 0)[..200], all());
}

#[test]
fn power_lost_at_any_change_while_archives_are_made_loses_nothing() {
    for nth in 1..60 {
        for seed in 0..6 {
            let disk = FaultyDisk::new(seed);
            let (log, _) = open(&disk, &options()).unwrap();
            write(&log, 0, 200);
            log.save_snapshot(160, b"state at 160").unwrap();
            disk.plan(Faults { power_off_at: Some(nth), ..Faults::default() });
            let _ = log.save_snapshot(200, b"state at 200");
            log.wait_archived(PATIENCE);
            drop(log);
            disk.crash();
            let seen = view(&disk).unwrap_or_else(|error| panic!("{nth} {seed}: {error}"));
            assert_eq!(seen.scan(0).map(|record| record.unwrap().1).collect::<Vec<_>>(), all(), "{nth} {seed}");
            let (log, recovered) = open(&disk, &options()).unwrap_or_else(|error| panic!("{nth} {seed}: {error}"));
            assert_eq!(recovered.position, 200);
            assert_eq!(contents(&log, 0), all(), "{nth} {seed}");
            assert!(disk.list(folder()).unwrap().iter().all(|name| !name.ends_with(".archive.new")));
            let (archives, segments) = (files(&disk, ".archive"), files(&disk, ".segment"));
            assert!(archives.iter().all(|path| !segments.contains(&path.with_extension("segment"))), "{nth} {seed}");
        }
    }
}

#[test]
fn readers_writers_and_trims_go_on_while_archives_are_made() {
    let disk = FaultyDisk::new(7);
    let (log, _) = open(&disk, &Options { segment_bytes: 4096, ..options() }).unwrap();
    let mut random = Random(11);
    let mut written: Vec<Vec<u8>> = Vec::new();
    let mut start = 0;
    for round in 0..120 {
        let bodies = random.bodies(6, 300);
        let (bytes, count) = batch(&bodies);
        let end = log.append(bytes, count, written.len() as u64).unwrap();
        assert_eq!(log.wait_durable(end, PATIENCE).unwrap(), end);
        written.extend(bodies);
        if round % 4 == 0 {
            log.save_snapshot(end, b"state").unwrap();
        }
        if round % 25 == 24 {
            start = log.trim(end / 3).unwrap();
        }
        let from = start + random.below(end - start);
        let found: Vec<_> = log.scan(from).map(|record| record.unwrap().1).collect();
        assert_eq!(found, written[from as usize..]);
    }
    assert!(log.wait_archived(PATIENCE));
    assert!(log.stats().archives > 3 && start > 0);
    log.close().unwrap();
    assert!(log.wait_archived(Duration::ZERO), "a closed log archives no more");
}
