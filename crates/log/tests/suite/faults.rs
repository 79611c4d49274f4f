//! Poison, full disks, read-only folders, slow disks, and the bounds of the queue.

use std::time::{Duration, Instant};

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{LogError, Options, Space};

use super::common::{PATIENCE, batch, commit, contents, open, small};

#[test]
fn after_a_failed_sync_or_write_nothing_is_acknowledged_again() {
    for fails_sync in [true, false] {
        let disk = FaultyDisk::new(1);
        let (log, _) = open(&disk, &small()).unwrap();
        commit(&log, &[vec![1; 10]]).unwrap();
        log.rearm();
        // Of a group the witness is the first write, the frames are the second.
        let (fail_sync_at, fail_write_at) = if fails_sync { (Some(1), None) } else { (None, Some(2)) };
        disk.plan(Faults { fail_sync_at, fail_write_at, ..Faults::default() });
        let end = log.append(batch(&[vec![2; 10]]).0, 1, 1).unwrap();
        let Err(LogError::Poisoned(cause)) = log.wait_durable(end, PATIENCE) else { panic!("acknowledged") };
        let op = if fails_sync { "fdatasync" } else { "write" };
        assert!(matches!(*cause, LogError::Io { op: failed, .. } if failed == op), "{cause}");
        assert_eq!(log.failure().as_ref(), Some(&*cause));

        // The disk is well again; the log does not believe it.
        disk.plan(Faults::default());
        assert!(matches!(log.append(batch(&[vec![3; 10]]).0, 1, end), Err(LogError::Poisoned(_))));
        assert!(matches!(log.save_snapshot(1, b"state"), Err(LogError::Poisoned(_))));
        assert!(matches!(log.close(), Err(LogError::Poisoned(_))));
        assert_eq!(log.durable(), 1);
        assert_eq!(contents(&log, 0), [vec![1; 10]], "what was durable can still be read");
        drop(log);
        let (log, recovered) = open(&disk, &small()).unwrap();
        assert!((1..=2).contains(&recovered.position));
        commit(&log, &[vec![4; 10]]).unwrap();
    }
}

#[test]
fn a_record_that_only_the_page_cache_has_is_durable_before_it_is_served() {
    // The failed sync left the group in the cache and not on the disk; the process comes back and believes the cache.
    let mut was_lost_by_the_disk = 0;
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        let (log, _) = open(&disk, &small()).unwrap();
        commit(&log, &[vec![1; 10]]).unwrap();
        disk.plan(Faults { fail_sync_at: Some(1), ..Faults::default() });
        log.append(batch(&[vec![2; 10]]).0, 1, 1).unwrap();
        assert!(log.wait_durable(2, PATIENCE).is_err());
        drop(log);
        disk.kill();
        let (log, recovered) = open(&disk, &small()).unwrap();
        assert_eq!(recovered.position, 2);
        drop(log);
        disk.crash();
        let (log, recovered) = open(&disk, &small()).unwrap();
        assert_eq!(recovered.position, 2, "seed {seed}: served and then lost");
        was_lost_by_the_disk += u32::from(recovered.cut.is_some());
        assert_eq!(contents(&log, 0), [vec![1; 10], vec![2; 10]]);
    }
    assert_eq!(was_lost_by_the_disk, 0);
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_by_itself() {
    let disk = FaultyDisk::new(2);
    let options = Options { segment_bytes: 4096, ..small() };
    let (log, _) = open(&disk, &options).unwrap();
    disk.plan(Faults { capacity: Some(14_000), ..Faults::default() });
    // Ten groups of one fit into a segment: these reach into the third one, and there is no room for a fourth.
    let mut end = (0..25).fold(0, |_, _| commit(&log, &[vec![9; 300]]).unwrap());
    let begun = Instant::now();
    while log.space() != Space::Low {
        assert!(begun.elapsed() < PATIENCE, "nobody was warned");
        log.wait_durable(end + 1, Duration::from_millis(5)).unwrap();
    }
    let refused = loop {
        assert!(begun.elapsed() < PATIENCE);
        match log.append(batch(&[vec![9; 300]]).0, 1, end) {
            Ok(next) => end = next,
            Err(LogError::QueueFull { .. }) => {}
            Err(error) => break error,
        }
        log.wait_durable(end, Duration::from_millis(20)).unwrap();
    };
    assert_eq!(refused, LogError::NoSpace);
    assert_eq!(log.space(), Space::Out);
    assert_eq!(log.failure(), None);
    let durable = log.durable();
    assert!(durable >= 25 && durable < end, "{durable} of {end}");
    assert_eq!(contents(&log, 0).len() as u64, durable);

    disk.plan(Faults::default());
    assert_eq!(log.wait_durable(end, PATIENCE), Ok(end), "what was queued");
    assert_eq!(log.space(), Space::Ample);
    commit(&log, &[b"and more".to_vec()]).unwrap();
    log.close().unwrap();
    drop(log);
    let (log, recovered) = open(&disk, &options).unwrap();
    assert_eq!((recovered.position, recovered.cut), (end + 1, None));
    assert_eq!(contents(&log, 0).len() as u64, end + 1);
}

#[test]
fn a_log_closed_on_a_full_disk_says_what_it_could_not_keep() {
    let disk = FaultyDisk::new(2);
    let (log, _) = open(&disk, &Options { segment_bytes: 4096, ..small() }).unwrap();
    disk.plan(Faults { capacity: Some(6_000), ..Faults::default() });
    let mut end = 0;
    while let Ok(next) = log.append(batch(&[vec![9; 1000]]).0, 1, end) {
        end = next;
        log.wait_durable(end, Duration::from_millis(20)).unwrap();
    }
    assert!(matches!(log.close(), Err(LogError::Poisoned(cause)) if cause.is_out_of_space()));
    let durable = log.durable();
    assert!(durable < end);
    drop(log);
    disk.kill();
    assert_eq!(open(&disk, &small()).unwrap().1.position, durable);
}

#[test]
fn a_snapshot_on_a_full_disk_fails_alone() {
    let disk = FaultyDisk::new(2);
    let (log, _) = open(&disk, &small()).unwrap();
    commit(&log, &[vec![1; 10]]).unwrap();
    disk.plan(Faults { capacity: Some(10_000), ..Faults::default() });
    assert!(log.save_snapshot(1, &[7; 20_000]).unwrap_err().is_out_of_space());
    commit(&log, &[vec![2; 10]]).unwrap();
    disk.plan(Faults::default());
    log.save_snapshot(2, &[7; 20_000]).unwrap();
}

#[test]
fn a_read_only_folder_is_an_error_and_no_panic() {
    let disk = FaultyDisk::new(3);
    disk.plan(Faults { is_read_only: true, ..Faults::default() });
    assert!(matches!(open(&disk, &small()).map(|_| ()), Err(LogError::Io { .. })));
    disk.plan(Faults::default());
    let (log, _) = open(&disk, &small()).unwrap();
    commit(&log, &[vec![1]]).unwrap();
    disk.plan(Faults { is_read_only: true, ..Faults::default() });
    log.append(batch(&[vec![2]]).0, 1, 1).unwrap();
    assert!(matches!(log.wait_durable(2, PATIENCE), Err(LogError::Poisoned(_))));
    drop(log);
    assert!(matches!(open(&disk, &small()).map(|_| ()), Err(LogError::Io { .. })));
}

#[test]
fn on_a_slow_disk_appends_share_syncs_and_the_queue_is_bounded() {
    let disk = FaultyDisk::new(4);
    let options = Options { queue_bytes_max: 4096, ..small() };
    let (log, _) = open(&disk, &options).unwrap();
    // The first sync is not over before this test says so, however long its thread is kept from running.
    disk.plan(Faults { sync_time: Duration::from_secs(3600), ..Faults::default() });
    let mut end = 0;
    let refused = loop {
        match log.append(batch(&[vec![1; 60]]).0, 1, end) {
            Ok(next) => end = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::QueueFull { bytes, bytes_max: 4096 } if bytes > 4000), "{refused}");
    assert_eq!(log.wait_durable(end, Duration::from_millis(20)), Ok(0), "a timeout is no error");
    disk.plan(Faults { sync_time: Duration::from_millis(20), ..Faults::default() });
    assert_eq!(log.wait_durable(end, PATIENCE), Ok(end));
    let stats = log.stats();
    assert!(stats.groups <= 2, "{stats:?}");
    assert_eq!((stats.records, stats.queue_bytes), (end, 0));
    for _ in 0..2 {
        commit(&log, &[vec![1; 60]]).unwrap();
    }
    assert!(log.stats().fsync_p50_ns >= 20_000_000);
}
