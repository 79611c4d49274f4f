//! A small log with one bit flipped, zeroed from a byte on, or cut short, at every byte.

use std::path::PathBuf;

use apex_log::disk::FaultyDisk;
use apex_log::{LogError, Options};

use super::common::{Random, commit, contents, folder, open, small};

/// A disk with a closed log, its records, and the last segment with the bounds of its groups.
struct Sample {
    disk: FaultyDisk,
    records: Vec<Vec<u8>>,
    segments: Vec<PathBuf>,
    /// Position and file offset at which the last group begins, and where it ends.
    last_position: u64,
    last_start: usize,
    last_end: usize,
}

fn used(disk: &FaultyDisk, path: &std::path::Path) -> usize {
    disk.bytes(path).unwrap().iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    use apex_log::Disk;
    let mut names = disk.list(folder()).unwrap();
    names.retain(|name| name.ends_with(".segment"));
    names.sort();
    names.iter().map(|name| folder().join(name)).collect()
}

/// `groups` groups; the last has three records.
fn sample(groups: usize) -> Sample {
    let disk = FaultyDisk::new(3);
    let options = Options { segment_bytes: 4096, ..small() };
    let (log, _) = open(&disk, &options).unwrap();
    let mut random = Random(4);
    let mut records = Vec::new();
    for _ in 1..groups {
        let bodies = random.bodies(3, 60);
        commit(&log, &bodies).unwrap();
        records.extend(bodies);
    }
    let last_position = records.len() as u64;
    let last_segment_before = segments(&disk).pop().unwrap();
    let last_start = used(&disk, &last_segment_before);
    let bodies = vec![vec![1; 30], vec![2; 40], vec![3; 50]];
    commit(&log, &bodies).unwrap();
    records.extend(bodies);
    log.close().unwrap();
    let segments = segments(&disk);
    assert_eq!(segments.last(), Some(&last_segment_before), "the last group began a segment; take another count");
    let last_end = used(&disk, segments.last().unwrap());
    Sample { disk, records, segments, last_position, last_start, last_end }
}

/// The log opens without its last group and says so, goes on, and keeps what it had.
fn expect_cut(sample: &Sample, disk: &FaultyDisk, what: &str) {
    let kept = &sample.records[..sample.last_position as usize];
    let (log, recovered) = open(disk, &small()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(recovered.position, sample.last_position, "{what}");
    let cut = recovered.cut.unwrap_or_else(|| panic!("{what}: not reported"));
    assert_eq!(folder().join(&cut.segment), sample.segments[sample.segments.len() - 1], "{what}");
    assert_eq!(cut.offset, sample.last_start as u64, "{what}");
    assert_eq!(contents(&log, 0), kept, "{what}");
    commit(&log, &[b"goes on".to_vec()]).unwrap();
    drop(log);
    let (log, recovered) = open(disk, &small()).unwrap();
    assert_eq!(recovered.cut, None);
    assert_eq!(contents(&log, 0), [kept, &[b"goes on".to_vec()]].concat());
}

fn expect_damage(disk: &FaultyDisk, what: &str) -> apex_log::Damage {
    match open(disk, &small()).map(|(_, recovered)| recovered) {
        Err(LogError::Damage(damage)) => damage,
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_flipped_bit_in_the_last_group_is_cut_and_elsewhere_named() {
    let sample = sample(40);
    assert!(sample.segments.len() >= 2);
    let mut random = Random(9);
    for (number, path) in sample.segments.iter().enumerate() {
        let is_last = number + 1 == sample.segments.len();
        let end = used(&sample.disk, path);
        for byte in 0..end {
            let disk = sample.disk.copy(1);
            let bit = random.below(8) as u8;
            disk.flip(path, byte, bit);
            let what = format!("bit {bit} of byte {byte} of {}", path.display());
            if is_last && byte >= sample.last_start {
                expect_cut(&sample, &disk, &what);
            } else {
                let damage = expect_damage(&disk, &what);
                assert_eq!(folder().join(&damage.segment), *path, "{what}: {damage}");
                assert!(damage.offset <= byte as u64, "{what}: {damage}");
                assert!(damage.position < sample.last_position, "{what}: {damage}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_behind_the_last_group_loses_nothing() {
    let sample = sample(10);
    let path = sample.segments.last().unwrap();
    for byte in (sample.last_end..4096).step_by(7) {
        let disk = sample.disk.copy(1);
        disk.flip(path, byte, (byte % 8) as u8);
        let (log, recovered) = open(&disk, &small()).unwrap();
        assert_eq!(contents(&log, 0), sample.records);
        assert_eq!(recovered.cut.unwrap().offset, sample.last_end as u64);
    }
}

/// What of a file from `byte` on is as if it had never been written.
fn check_lost_from(change: impl Fn(&mut Vec<u8>, usize)) {
    let sample = sample(10);
    let path = sample.segments.last().unwrap();
    for byte in 0..sample.last_end {
        let disk = sample.disk.copy(1);
        disk.edit(path, |bytes| change(bytes, byte));
        let what = format!("from byte {byte} on of {}", path.display());
        if byte > sample.last_start {
            expect_cut(&sample, &disk, &what);
        } else if byte == sample.last_start {
            // Nothing of the last group is there: the log ends before it.
            let (log, recovered) = open(&disk, &small()).unwrap();
            assert_eq!((recovered.position, recovered.cut), (sample.last_position, None));
            assert_eq!(contents(&log, 0), sample.records[..sample.last_position as usize]);
        } else {
            let damage = expect_damage(&disk, &what);
            assert_eq!(folder().join(&damage.segment), *path, "{what}");
            assert!(damage.offset <= byte as u64, "{what}: {damage}");
        }
    }
}

#[test]
fn a_tail_that_was_never_written_is_cut_in_the_last_group_and_elsewhere_named() {
    check_lost_from(|bytes, byte| bytes[byte..].fill(0));
}

#[test]
fn a_file_cut_short_is_cut_in_the_last_group_and_elsewhere_named() {
    check_lost_from(|bytes, byte| bytes.truncate(byte));
}

#[test]
fn every_segment_cut_short_or_missing_is_named() {
    use apex_log::Disk;
    let sample = sample(40);
    for path in &sample.segments[..sample.segments.len() - 1] {
        for byte in 0..used(&sample.disk, path) {
            let disk = sample.disk.copy(1);
            disk.edit(path, |bytes| bytes.truncate(byte));
            let damage = expect_damage(&disk, &format!("{} cut at {byte}", path.display()));
            assert_eq!(folder().join(&damage.segment), *path);
        }
    }
    for path in &sample.segments {
        let disk = sample.disk.copy(1);
        disk.remove(path).unwrap();
        expect_damage(&disk, &format!("{} removed", path.display()));
    }
}

#[test]
fn without_the_witness_a_flip_in_the_middle_is_still_no_torn_tail() {
    use apex_log::Disk;
    let sample = sample(10);
    let path = sample.segments.last().unwrap();
    for byte in 0..sample.last_start {
        let disk = sample.disk.copy(1);
        disk.remove(&folder().join("floor")).unwrap();
        disk.flip(path, byte, 3);
        let damage = expect_damage(&disk, &format!("byte {byte}"));
        assert_eq!(folder().join(&damage.segment), *path);
    }
}

#[test]
fn a_whole_group_of_another_place_or_log_does_not_verify_here() {
    let sample = sample(10);
    let path = sample.segments.last().unwrap();
    // The last group once more, right behind itself.
    let disk = sample.disk.copy(1);
    disk.edit(path, |bytes| bytes.copy_within(sample.last_start..sample.last_end, sample.last_end));
    let (log, recovered) = open(&disk, &small()).unwrap();
    assert_eq!(contents(&log, 0), sample.records);
    assert!(recovered.cut.is_some());
}

#[test]
fn bodies_that_look_like_the_log_itself_are_only_bodies() {
    let sample = sample(10);
    let whole = sample.disk.bytes(sample.segments.last().unwrap()).unwrap();
    let disk = FaultyDisk::new(8);
    let (log, _) = open(&disk, &small()).unwrap();
    commit(&log, &[b"first".to_vec()]).unwrap();
    let body = whole[..1500].to_vec();
    commit(&log, std::slice::from_ref(&body)).unwrap();
    log.close().unwrap();
    let path = segments(&disk).pop().unwrap();
    let end = used(&disk, &path);
    let torn = disk.copy(1);
    torn.edit(&path, |bytes| bytes[end - 1] ^= 1);
    let (log, recovered) = open(&torn, &small()).unwrap();
    assert_eq!(contents(&log, 0), [b"first".to_vec()]);
    assert!(recovered.cut.is_some());
    drop(log);
    let (log, _) = open(&disk, &small()).unwrap();
    assert_eq!(contents(&log, 0), [b"first".to_vec(), body]);
}

#[test]
fn a_flipped_bit_in_the_meta_file_or_its_loss_is_named_and_in_the_witness_harmless() {
    use apex_log::Disk;
    let sample = sample(10);
    let meta = folder().join("meta");
    for byte in 0..sample.disk.bytes(&meta).unwrap().len() {
        let disk = sample.disk.copy(1);
        disk.flip(&meta, byte, (byte % 8) as u8);
        assert_eq!(expect_damage(&disk, &format!("byte {byte}")).segment, "meta");
    }
    let disk = sample.disk.copy(1);
    disk.remove(&meta).unwrap();
    assert_eq!(expect_damage(&disk, "removed").segment, "meta");

    let floor = folder().join("floor");
    for byte in 0..sample.disk.bytes(&floor).unwrap().len() {
        let disk = sample.disk.copy(1);
        disk.flip(&floor, byte, (byte % 8) as u8);
        let (log, _) = open(&disk, &small()).unwrap();
        assert_eq!(contents(&log, 0), sample.records);
    }
}

#[test]
fn a_record_that_rots_while_the_log_is_open_is_not_returned() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &small()).unwrap();
    commit(&log, &[vec![5; 20], vec![6; 20], vec![7; 20]]).unwrap();
    let path = segments(&disk).pop().unwrap();
    let byte = disk.bytes(&path).unwrap().iter().position(|&byte| byte == 6).unwrap();
    disk.flip(&path, byte, 0);
    assert_eq!(log.read(0).unwrap(), Some(vec![5; 20]));
    assert!(matches!(log.read(1), Err(LogError::Damage(damage)) if damage.position == 1));
    assert_eq!(log.read(2).unwrap(), Some(vec![7; 20]));
    assert!(log.scan(0).any(|record| record.is_err()) || log.scan(1).next().unwrap().is_err());
}

/// A closed log of several segments, all of whose bodies are this byte.
fn uniform(byte: u8) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &Options { segment_bytes: 4096, ..small() }).unwrap();
    for _ in 0..40 {
        commit(&log, &[vec![byte; 200]]).unwrap();
    }
    log.close().unwrap();
    disk
}

#[test]
fn a_record_that_was_changed_together_with_its_checksum_breaks_the_chain() {
    let disk = uniform(1);
    let path = segments(&disk).remove(0);
    // The first frame: size at byte 72, checksum at 76, body from 80 on.
    disk.edit(&path, |bytes| {
        bytes[80] = 2;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[72..76]), &bytes[80..280]);
        bytes[76..80].copy_from_slice(&checksum.to_le_bytes());
    });
    let damage = expect_damage(&disk, "forged");
    assert_eq!((damage.position, folder().join(&damage.segment)), (0, path));
    assert!(damage.reason.contains("hash"), "{damage}");
}

#[test]
fn a_whole_segment_of_another_log_breaks_the_chain() {
    let (disk, other) = (uniform(1), uniform(2));
    let paths = segments(&disk);
    assert_eq!(paths, segments(&other));
    for path in &paths[1..] {
        let disk = disk.copy(1);
        let bytes = other.bytes(path).unwrap();
        disk.edit(path, |old| *old = bytes);
        let damage = expect_damage(&disk, "of another log");
        assert_eq!((folder().join(&damage.segment), damage.offset), (path.clone(), 32));
    }
}
