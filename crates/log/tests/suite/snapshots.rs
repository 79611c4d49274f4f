//! Snapshots and trimming.

use std::path::PathBuf;

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Disk, LogError, Options};

use super::common::{commit, contents, folder, open, small};

fn files(disk: &FaultyDisk, part: &str) -> Vec<PathBuf> {
    let mut names = disk.list(folder()).unwrap();
    names.retain(|name| name.contains(part));
    names.sort();
    names.iter().map(|name| folder().join(name)).collect()
}

fn body(position: u64) -> Vec<u8> {
    vec![position as u8; 200]
}

/// Forty records over several segments.
fn forty(disk: &FaultyDisk) -> apex_log::Log {
    let (log, _) = open(disk, &Options { segment_bytes: 4096, ..small() }).unwrap();
    for position in 0..40 {
        commit(&log, &[body(position)]).unwrap();
    }
    assert!(log.stats().segments >= 3);
    log
}

#[test]
fn the_newest_snapshot_comes_back_and_two_are_kept() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    for position in [0, 10, 20, 30] {
        log.save_snapshot(position, format!("state at {position}").as_bytes()).unwrap();
    }
    log.save_snapshot(30, b"state at 30, again").unwrap();
    assert_eq!(files(&disk, "snapshot").len(), 2);
    assert!(matches!(log.save_snapshot(41, b"ahead"), Err(LogError::Invalid(_))));
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk, &small()).unwrap();
    assert_eq!(recovered.snapshot, Some((30, b"state at 30, again".to_vec())));
}

#[test]
fn a_damaged_snapshot_is_reported_and_the_one_before_serves() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(10, b"state at 10").unwrap();
    log.save_snapshot(20, b"state at 20").unwrap();
    drop(log);
    let newest = files(&disk, "snapshot").pop().unwrap();
    for byte in 0..disk.bytes(&newest).unwrap().len() {
        let disk = disk.copy(1);
        disk.flip(&newest, byte, (byte % 8) as u8);
        let (log, recovered) = open(&disk, &small()).unwrap();
        assert_eq!(recovered.snapshot, Some((10, b"state at 10".to_vec())), "byte {byte}");
        assert_eq!(recovered.damaged_snapshots.len(), 1);
        log.save_snapshot(25, b"state at 25").unwrap();
        assert_eq!(files(&disk, "snapshot").len(), 2);
    }
}

#[test]
fn a_snapshot_ahead_of_the_records_means_that_records_were_lost() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(40, b"state at 40").unwrap();
    drop(log);
    let last = files(&disk, "segment").pop().unwrap();
    disk.edit(&last, |bytes| {
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[end] ^= 1;
    });
    let Err(LogError::Damage(damage)) = open(&disk, &small()).map(|_| ()) else { panic!("opened") };
    assert_eq!(damage.position, 39);
}

#[test]
fn trim_removes_whole_segments_below_the_oldest_snapshot_and_no_more() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    let before = log.stats().segments;
    assert_eq!(log.trim(40), Ok(0), "there is no snapshot");
    log.save_snapshot(25, b"state at 25").unwrap();
    log.save_snapshot(35, b"state at 35").unwrap();
    let start = log.trim(40).unwrap();
    assert!(start > 0 && start <= 25, "{start}");
    assert!(log.stats().segments < before);
    assert_eq!(files(&disk, "segment").len() as u64, log.stats().segments);
    assert_eq!(log.read(start - 1), Err(LogError::Trimmed { start }));
    assert!(matches!(log.scan(0).next(), Some(Err(LogError::Trimmed { start: named })) if named == start));
    assert!(matches!(log.save_snapshot(1, b"old"), Err(LogError::Trimmed { .. })));
    assert_eq!(contents(&log, start), (start..40).map(body).collect::<Vec<_>>());
    assert_eq!(log.trim(40), Ok(start));
    drop(log);
    disk.crash();
    let (log, recovered) = open(&disk, &small()).unwrap();
    assert_eq!((recovered.start, recovered.position), (start, 40));
    assert_eq!(contents(&log, start), (start..40).map(body).collect::<Vec<_>>());
    drop(log);

    for snapshot in files(&disk, "snapshot") {
        disk.remove(&snapshot).unwrap();
    }
    assert!(
        matches!(open(&disk, &small()).map(|_| ()), Err(LogError::Damage(_))),
        "nothing stands for what was trimmed"
    );
}

#[test]
fn a_power_loss_at_any_change_of_snapshot_and_trim_leaves_a_whole_log() {
    for nth in 1..40 {
        for seed in 0..10 {
            let disk = FaultyDisk::new(seed);
            let log = forty(&disk);
            log.save_snapshot(20, b"state at 20").unwrap();
            disk.plan(Faults { power_off_at: Some(nth), ..Faults::default() });
            let saved = log.save_snapshot(30, b"state at 30").is_ok();
            // The limit stays at 20 while two are kept; a trim after a failed save is legal too.
            let trimmed = log.trim(40);
            drop(log);
            disk.crash();
            let (log, recovered) = open(&disk, &small()).unwrap_or_else(|error| panic!("{nth} {seed}: {error}"));
            let (position, state) = recovered.snapshot.unwrap();
            assert_eq!(state, format!("state at {position}").into_bytes());
            assert!(position == 30 || !saved && position == 20, "{nth} {seed}");
            assert!(recovered.start <= position);
            assert!(trimmed.is_err() || trimmed == Ok(recovered.start), "{nth} {seed}");
            assert_eq!(contents(&log, recovered.start), (recovered.start..40).map(body).collect::<Vec<_>>());
        }
    }
}
