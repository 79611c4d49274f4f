//! Erasure: what is erased is in no file and opens with no key, the chain is as it was, and a crash at any moment leaves a whole
//! log that can be erased again.

use std::path::Path;
use std::sync::Arc;

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{
    Blobs, Depth, Disk, Erased, Erasure, Log, LogError, MasterKeys, Options, Swept, View, count_erasable, erase, sweep,
};

use super::common::{PATIENCE, commit, contents, folder, open, small};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn keys() -> MasterKeys {
    MasterKeys::parse(KEY).unwrap()
}

fn options() -> Options {
    Options { segment_bytes: 8192, archive_after_segments: 0, keys: keys(), ..small() }
}

fn blobs_folder() -> &'static Path {
    Path::new("/blobs")
}

/// Every third record is Ada's.
fn is_ada(position: u64) -> bool {
    position.is_multiple_of(3)
}

fn body(position: u64) -> Vec<u8> {
    let whose = if is_ada(position) { "ada" } else { "bob" };
    format!("{whose} says something that is number {position}. ").into_bytes().repeat(5)
}

fn write(log: &Log, from: u64, to: u64) {
    for position in (from..to).step_by(2) {
        commit(log, &[body(position), body(position + 1)]).unwrap();
    }
}

fn put(blobs: &Blobs, tenant: &str, content: &[u8]) -> apex_log::Address {
    let mut upload = blobs.begin(tenant).unwrap();
    upload.write(content).unwrap();
    upload.finish(None).unwrap().address
}

/// Two openings, two hundred records, half of them archived, two snapshots and three blobs.
fn life(disk: &FaultyDisk) {
    let (log, _) = open(disk, &options()).unwrap();
    write(&log, 0, 100);
    log.save_snapshot(50, b"ada at 50").unwrap();
    log.save_snapshot(100, b"ada at 100").unwrap();
    assert!(log.wait_archived(PATIENCE));
    drop(log);
    let (log, _) = open(disk, &options()).unwrap();
    let blobs = log.open_blobs(blobs_folder(), u64::MAX).unwrap();
    put(&blobs, "ada", b"a film of ada");
    put(&blobs, "bob", b"a film of bob");
    write(&log, 100, 200);
    log.save_snapshot(160, b"ada at 160").unwrap();
    log.save_snapshot(180, b"only bob at 180").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert!(log.stats().archives > 2);
    drop(blobs);
    log.close().unwrap();
}

fn erase_ada(disk: &FaultyDisk) -> Result<Erased, LogError> {
    let is_meant = |body: &[u8]| body.starts_with(b"ada");
    let erasure = Erasure { below: 180, is_meant: &is_meant, blobs_of: Some("ada") };
    erase(folder(), blobs_folder(), disk, &keys(), &erasure)
}

fn view(disk: &FaultyDisk) -> View {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    View::open(folder(), &disk, Depth::Everything, &keys()).unwrap()
}

/// What is read of a log of which Ada's records below 180 are erased.
fn left(to: u64) -> Vec<Vec<u8>> {
    (0..to).map(|position| if is_ada(position) && position < 180 { Vec::new() } else { body(position) }).collect()
}

fn all_of(view: &View) -> Vec<Vec<u8>> {
    view.scan(0).map(|record| record.unwrap().1).collect()
}

#[test]
fn what_is_erased_is_gone_and_all_else_is_as_it_was() {
    let disk = FaultyDisk::new(1);
    life(&disk);
    let before = view(&disk).chain;
    let erased = erase_ada(&disk).unwrap();
    assert_eq!((erased.records, erased.blobs), (60, 1));
    assert!(erased.archives > 2);

    let after = view(&disk);
    assert_eq!(after.chain, before, "every byte of the segments is as it was");
    assert_eq!(all_of(&after), left(200));
    assert_eq!(after.snapshot, Some((180, b"only bob at 180".to_vec())));
    assert_eq!(disk.list(blobs_folder()).unwrap().len(), 1);

    // A crash loses nothing of it, and the log goes on; the rest becomes archives with the erased records sealed in them.
    disk.crash();
    let (log, recovered) = open(&disk, &options()).unwrap();
    assert_eq!((recovered.position, recovered.snapshot), (200, Some((180, b"only bob at 180".to_vec()))));
    assert_eq!(contents(&log, 0), left(200));
    let blobs = log.open_blobs(blobs_folder(), u64::MAX).unwrap();
    let film = put(&blobs, "bob", b"a film of bob");
    assert_eq!(blobs.get("bob", film).unwrap().unwrap().read_whole().unwrap(), b"a film of bob");
    drop(blobs);
    write(&log, 200, 240);
    log.save_snapshot(220, b"later").unwrap();
    log.save_snapshot(240, b"later").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(log.stats().archive_failures, 0);
    assert_eq!(contents(&log, 0), left(240));
    drop(log);
    assert_eq!(all_of(&view(&disk)), left(240));
    assert_eq!(erase_ada(&disk).unwrap(), Erased::default());
}

/// The keys that are left open nothing that was erased, also not in files of before.
#[test]
fn with_the_new_keys_the_old_files_say_nothing_of_it() {
    let disk = FaultyDisk::new(1);
    life(&disk);
    let old = disk.copy(1);
    erase_ada(&disk).unwrap();
    let new_keys = disk.bytes(&folder().join("keys")).unwrap();
    let file = old.create(&folder().join("keys")).unwrap();
    file.write_at(&new_keys, 0).unwrap();
    file.fdatasync().unwrap();
    // The archives of before held hers together with others': their pieces do not open any more.
    let names = old.list(folder()).unwrap();
    assert!(names.iter().any(|name| name.ends_with(".archive")));
    let disk: Arc<dyn Disk> = Arc::new(old);
    let outcome = View::open(folder(), &disk, Depth::Everything, &keys()).map(|view| view.position);
    assert!(
        matches!(&outcome, Err(LogError::Damage(damage)) if damage.reason.contains("it was erased")),
        "{outcome:?}"
    );
}

#[test]
fn a_run_of_positions_costs_few_bytes_and_data_keys_that_nothing_needs_are_dropped() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &options()).unwrap();
    write(&log, 0, 100);
    drop(log);
    let (log, _) = open(&disk, &options()).unwrap();
    log.save_snapshot(100, b"state").unwrap();
    drop(log);
    for _ in 0..5 {
        drop(open(&disk, &options()).unwrap());
    }
    let is_meant = |_: &[u8]| true;
    let erasure = Erasure { below: 100, is_meant: &is_meant, blobs_of: None };
    let before = disk.bytes(&folder().join("keys")).unwrap().len();
    assert_eq!(erase(folder(), blobs_folder(), &disk, &keys(), &erasure).unwrap().records, 100);
    let after = disk.bytes(&folder().join("keys")).unwrap().len();
    assert!(after < before + 1_500, "{before} {after}");
    let (log, recovered) = open(&disk, &options()).unwrap();
    assert_eq!(recovered.position, 100);
    assert_eq!(contents(&log, 0), vec![Vec::<u8>::new(); 100]);
    drop(log);
    let is_old = |_: &str| true;
    let swept = sweep(folder(), blobs_folder(), &disk, &keys(), &is_old).unwrap();
    // The erasure dropped the others; the newest of then is not needed either.
    assert_eq!(swept, Swept { blobs: 0, bytes: 0, keys: 1 });
}

#[test]
fn what_cannot_be_erased_is_refused_and_nothing_is_changed() {
    let files = |disk: &FaultyDisk| -> Vec<_> {
        let mut names = disk.list(folder()).unwrap();
        names.sort();
        names.into_iter().map(|name| (disk.bytes(&folder().join(&name)), name)).collect()
    };
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &Options { keys: MasterKeys::default(), ..options() }).unwrap();
    write(&log, 0, 40);
    log.save_snapshot(40, b"state").unwrap();
    drop(log);
    let is_meant = |body: &[u8]| body.starts_with(b"ada");
    let at = |below| Erasure { below, is_meant: &is_meant, blobs_of: None };
    let before = files(&disk);
    let outcome = erase(folder(), blobs_folder(), &disk, &MasterKeys::default(), &at(40));
    assert!(matches!(&outcome, Err(LogError::Key(reason)) if reason.contains("log.key_file")), "{outcome:?}");
    assert!(files(&disk) == before);

    let (log, _) = open(&disk, &options()).unwrap();
    write(&log, 40, 60);
    drop(log);
    let before = files(&disk);
    let outcome = erase(folder(), blobs_folder(), &disk, &keys(), &at(60));
    assert!(matches!(&outcome, Err(LogError::Invalid(reason)) if reason.contains("no snapshot")), "{outcome:?}");
    let outcome = erase(folder(), blobs_folder(), &disk, &keys(), &at(40));
    assert!(matches!(&outcome, Err(LogError::Invalid(reason)) if reason.contains("no key of its own")), "{outcome:?}");
    let outcome = count_erasable(folder(), &disk, &keys(), &is_meant);
    assert!(matches!(&outcome, Err(LogError::Invalid(reason)) if reason.contains("no key of its own")), "{outcome:?}");
    let is_bob = |found: &[u8]| found == body(40);
    assert_eq!(count_erasable(folder(), &disk, &keys(), &is_bob).unwrap(), 1);
    assert!(files(&disk) == before);

    let (log, _) = open(&disk, &options()).unwrap();
    let outcome = erase(folder(), blobs_folder(), &disk, &keys(), &at(40));
    assert!(matches!(outcome, Err(LogError::Locked { .. })), "{outcome:?}");
    drop(log);
}

#[test]
fn power_lost_at_any_change_of_an_erasure_leaves_a_whole_log_and_doing_it_again_finishes() {
    let sample = FaultyDisk::new(1);
    life(&sample);
    let measured = sample.copy(1);
    let from = measured.changes();
    erase_ada(&measured).unwrap();
    let changes = measured.changes() - from;
    assert!(changes > 30, "{changes}");
    let (mut before, mut after) = (0, 0);
    for nth in 1..=changes {
        for seed in 0..3 {
            let disk = sample.copy(seed);
            disk.plan(Faults { power_off_at: Some(nth), ..Faults::default() });
            let outcome = erase_ada(&disk);
            disk.crash();
            // Of what was meant each record is there or not; nothing else is touched.
            let found = all_of(&view(&disk));
            for (position, (found, left)) in (0..).zip(found.iter().zip(left(200))) {
                assert!(*found == left || (left.is_empty() && *found == body(position)), "{nth} {seed} {position}");
            }
            if found == left(200) {
                after += 1;
            } else {
                before += 1;
                assert!(outcome.is_err(), "{nth} {seed}");
            }
            // The owner may come in between.
            if seed == 1 {
                drop(open(&disk, &options()).unwrap().0.open_blobs(blobs_folder(), u64::MAX).unwrap());
            }
            erase_ada(&disk).unwrap();
            disk.crash();
            assert_eq!(all_of(&view(&disk)), left(200), "{nth} {seed}");
            assert_eq!(disk.list(blobs_folder()).unwrap().len(), 1, "{nth} {seed}");
            let (log, recovered) = open(&disk, &options()).unwrap();
            assert_eq!(recovered.snapshot, Some((180, b"only bob at 180".to_vec())), "{nth} {seed}");
            assert_eq!(contents(&log, 0), left(200), "{nth} {seed}");
        }
    }
    assert!(before > 0 && after > 0, "{before} {after}");
}

#[test]
fn a_sweep_removes_blobs_that_nothing_names_and_that_are_old() {
    for key in [MasterKeys::default(), keys()] {
        let disk = FaultyDisk::new(1);
        let with = Options { keys: key.clone(), ..options() };
        let (log, _) = open(&disk, &with).unwrap();
        let blobs = log.open_blobs(blobs_folder(), u64::MAX).unwrap();
        let [in_record, in_state, nowhere, young] =
            [&b"one"[..], b"two", b"three", b"four"].map(|content| put(&blobs, "ada", content));
        commit(&log, &[format!(r#"{{"$blob":"{in_record}"}}, sha256:00, sha256:"#).into_bytes()]).unwrap();
        log.save_snapshot(1, format!("…{in_state}…").as_bytes()).unwrap();
        drop(blobs);
        drop(log);
        let name_of_young = young.to_string().replace("sha256:", "");
        let is_old = |name: &str| !name.ends_with(&name_of_young);
        let swept = sweep(folder(), blobs_folder(), &disk, &key, &is_old).unwrap();
        assert_eq!((swept.blobs, swept.bytes), (1, 5));
        disk.crash();
        let (log, _) = open(&disk, &with).unwrap();
        let blobs = log.open_blobs(blobs_folder(), u64::MAX).unwrap();
        for (address, content) in [(in_record, &b"one"[..]), (in_state, b"two"), (young, b"four")] {
            assert_eq!(blobs.get("ada", address).unwrap().unwrap().read_whole().unwrap(), content);
        }
        assert!(blobs.get("ada", nowhere).unwrap().is_none());
        assert_eq!(blobs.totals().0, 3);
    }
}
