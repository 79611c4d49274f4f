//! A real process on the real disk, killed with SIGKILL while it appends: what it had said was durable is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use apex_log::{Log, RealDisk};

use super::common::{Folder, PATIENCE, Random, batch, contents, small};

const KILLS: u64 = 20;
const FOLDER: &str = "APEX_LOG_KILL_FOLDER";

fn body(position: u64) -> Vec<u8> {
    let mut random = Random(position);
    random.body(200)
}

#[test]
#[ignore = "the process that the other test starts and kills"]
fn victim() {
    let folder = std::env::var(FOLDER).unwrap();
    let (log, recovered) = Log::open(Path::new(&folder), Arc::new(RealDisk), small()).unwrap();
    let mut end = recovered.position;
    let mut out = std::io::stderr().lock();
    loop {
        // Keeps several groups' worth waiting; says what is durable, as soon as it is.
        for _ in 0..5 {
            end = log.append(batch(&[body(end)]).0, 1, end).unwrap();
        }
        let durable = log.wait_durable(end - 3, PATIENCE).unwrap();
        writeln!(out, "durable {durable}").unwrap();
    }
}

#[test]
fn what_a_killed_process_had_acknowledged_is_there() {
    let folder = Folder::new("kill");
    let mut random = Random(7);
    let (mut said, mut position) = (0, 0);
    for kill in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::victim", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut wanted = 1 + random.below(60);
        while wanted > 0 {
            let line = lines.next().unwrap_or_else(|| panic!("the victim of kill {kill} ended by itself"));
            if let Some(durable) = line.strip_prefix("durable ") {
                said = durable.parse().unwrap();
                wanted -= 1;
            }
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it said between our last look and its end counts as well.
        for line in lines {
            said = line.strip_prefix("durable ").and_then(|durable| durable.parse().ok()).unwrap_or(said);
        }
        let (log, recovered) = Log::open(&folder.0, Arc::new(RealDisk), small()).unwrap();
        assert!(recovered.position >= said, "kill {kill}: {said} acknowledged, {recovered:?}");
        assert!(recovered.position > position);
        position = recovered.position;
        assert_eq!(contents(&log, 0), (0..position).map(body).collect::<Vec<_>>());
    }
}
