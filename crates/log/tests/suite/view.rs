//! What a visitor sees: everything that is durable, whoever holds the folder, and the first byte that is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apex_log::disk::FaultyDisk;
use apex_log::{Depth, Disk, Log, LogError, MasterKeys, Options, RealDisk, View};

use super::common::{Folder, commit, contents, folder, open, small};

fn view(disk: &FaultyDisk, depth: Depth) -> Result<View, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    View::open(folder(), &disk, depth, &MasterKeys::default())
}

fn body(position: u64) -> Vec<u8> {
    vec![1 + position as u8; 200]
}

fn forty(disk: &FaultyDisk) -> Log {
    let (log, _) = open(disk, &Options { segment_bytes: 4096, ..small() }).unwrap();
    for position in 0..40 {
        commit(&log, &[body(position)]).unwrap();
    }
    log
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut names = disk.list(folder()).unwrap();
    names.retain(|name| name.ends_with(".segment"));
    names.sort();
    names.iter().map(|name| folder().join(name)).collect()
}

#[test]
fn a_visitor_sees_what_is_durable_and_leaves_no_trace() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(25, b"state at 25").unwrap();
    // The owner prepares its next segment when it has time; on a copy of the disk only the visitor could write.
    let still = disk.copy(2);
    let (names, changes) = (still.list(folder()).unwrap(), still.changes());
    let looks = [Depth::Opening, Depth::Everything].map(|depth| [(&disk, depth), (&still, depth)]);
    for (disk, depth) in looks.into_iter().flatten() {
        let view = view(disk, depth).unwrap();
        assert_eq!((view.position, view.start, view.term), (40, 0, 1));
        assert_eq!(view.snapshot, Some((25, b"state at 25".to_vec())));
        let records: Vec<_> = view.scan(0).map(|record| record.unwrap().1).collect();
        assert_eq!(records, (0..40).map(body).collect::<Vec<_>>());
        assert_eq!(view.read(7).unwrap(), Some(body(7)));
        assert_eq!(view.read(40).unwrap(), None);
        let parts = view.parts().unwrap();
        assert!(parts.len() > 2 && parts.iter().rev().skip(1).all(|part| part.is_sealed));
    }
    assert_eq!((still.list(folder()).unwrap(), still.changes()), (names, changes), "nothing was written");
    commit(&log, &[body(40)]).unwrap();
    drop(log);
    assert_eq!(open(&disk, &small()).unwrap().1.term, 2, "looking raised no term");
}

#[test]
fn a_visitor_names_the_first_wrong_byte_wherever_it_is() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(40, b"state at 40").unwrap();
    log.close().unwrap();
    let paths = segments(&disk);
    for (number, path) in paths.iter().enumerate() {
        let used = disk.bytes(path).unwrap().iter().rposition(|&byte| byte != 0).unwrap();
        for byte in (0..used).step_by(3) {
            let disk = disk.copy(2);
            disk.flip(path, byte, 3);
            let Err(LogError::Damage(damage)) = view(&disk, Depth::Everything).map(|_| ()) else {
                panic!("byte {byte} of {}", path.display())
            };
            assert!(number + 1 == paths.len() || folder().join(&damage.segment) == *path, "{damage}");
            assert!(damage.offset <= byte as u64, "{damage}");
        }
    }
}

#[test]
fn what_a_snapshot_stands_for_is_read_when_it_is_asked_for() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(40, b"state at 40").unwrap();
    drop(log);
    let first = segments(&disk).remove(0);
    disk.flip(&first, 100, 0);
    let (log, recovered) = open(&disk, &small()).unwrap();
    assert_eq!(recovered.position, 40, "a snapshot stands for it");
    assert!(matches!(log.read(0), Err(LogError::Damage(damage)) if damage.position == 0));
    assert_eq!(log.read(30).unwrap(), Some(body(30)));
    assert_eq!(contents(&log, 20), (20..40).map(body).collect::<Vec<_>>());
    assert!(matches!(view(&disk, Depth::Everything).map(|_| ()), Err(LogError::Damage(_))));
    assert_eq!(view(&disk, Depth::Opening).map(|view| view.position), Ok(40));
}

#[test]
fn a_hole_below_a_snapshot_is_seen_at_the_first_read() {
    let disk = FaultyDisk::new(1);
    let log = forty(&disk);
    log.save_snapshot(40, b"state at 40").unwrap();
    drop(log);
    disk.remove(&segments(&disk)[1]).unwrap();
    let (log, _) = open(&disk, &small()).unwrap();
    assert!(matches!(log.scan(0).find(Result::is_err), Some(Err(LogError::Damage(_)))));
}

#[test]
fn a_visitor_is_right_while_the_owner_writes() {
    let folder = Folder::new("visited");
    let options = Options { segment_bytes: 16384, ..small() };
    let (log, _) = Log::open(&folder.0, Arc::new(RealDisk), options).unwrap();
    commit(&log, &[body(0)]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut position = 1;
            while !done.load(Ordering::Relaxed) {
                position = commit(&log, &[body(position % 200)]).unwrap();
            }
            position
        });
        let mut seen = 0;
        for _ in 0..60 {
            let durable = log.durable();
            let view = look(&folder.0).unwrap();
            assert!(view.position >= durable && view.position >= seen);
            seen = view.position;
            for record in view.scan(0) {
                let (position, found) = record.unwrap();
                assert_eq!(found, body(position % 200));
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() >= seen);
    });
}

fn look(path: &Path) -> Result<View, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    View::open(path, &disk, Depth::Everything, &MasterKeys::default())
}

#[test]
fn there_is_nothing_to_see_where_no_log_is() {
    let folder = Folder::new("absent");
    assert!(matches!(look(&folder.0).map(|_| ()), Err(LogError::Io { kind: std::io::ErrorKind::NotFound, .. })));
    std::fs::create_dir_all(&folder.0).unwrap();
    assert_eq!(look(&folder.0).map(|view| (view.position, view.term)), Ok((0, 0)));
}
