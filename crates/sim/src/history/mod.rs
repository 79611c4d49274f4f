//! One history: clients, executors, a clock, and bad luck, all on a seed. After every step what is durable is judged.

pub(crate) mod changes;
mod clients;
mod durability;
mod ending;
mod faults;
mod rest;
mod workflows;

use crate::chance::Chance;
use crate::coverage::Coverage;
use crate::definition::WORKFLOWS;
use crate::disk::SimDisk;
use crate::house::{Asked, House};
use crate::oracle::ledger::Ledger;
use crate::oracle::patches::Patch;
use crate::plan::Plan;
use crate::wrong::Wrong;
use apex_log::{MasterKeys, Options};
use apex_machine::command::StartRun;
use apex_machine::{Command, Config, RunId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

const SECOND: i64 = 1_000_000_000;
/// 2026-01-01.
const BEGINNING: i64 = 1_767_225_600 * SECOND;
const TENANT: &str = "t";
/// Of histories that are written encrypted.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PARTITIONS: u16 = 4;

/// Turns and results that bring any history to its end; over it something goes round in a circle.
const ENDING_MAX: usize = 1_000;

struct World<'p> {
    plan: &'p Plan,
    coverage: &'p mut Coverage,
    config: Config,
    options: Options,
    disk: SimDisk,
    house: House,
    ledger: Ledger,
    /// What the owner decided, by position; the first `ledger.position` are known durable.
    bodies: Vec<Vec<u8>>,
    /// The first that can still be read.
    first: u64,
    now: i64,
    term: u64,
    tokens: u64,
    /// How often the log is behind: one in so many turns is written at once.
    lag: u64,
    starts: Vec<StartRun>,
    versions: BTreeMap<String, u64>,
    /// The last version of each workflow.
    documents: BTreeMap<String, Value>,
    /// The last patch with a key of each run, which may be asked for again.
    patches: BTreeMap<RunId, Patch>,
    /// Definitions that clients have read, by run and epoch.
    read: BTreeMap<(RunId, u64), Rc<Value>>,
    batch: Vec<(u64, Command)>,
    /// A result that would be over its bound.
    large: usize,
}

/// Runs one history.
///
/// # Errors
/// The first thing that is not as it must be.
pub(crate) fn run(plan: &Plan, coverage: &mut Coverage) -> Result<(), Wrong> {
    coverage.histories += 1;
    let mut chance = Chance::of(plan.seed, "history", 0);
    let mut config = Config { partitions: PARTITIONS, ..Config::default() };
    let large = 4_000;
    config.limits.result_bytes_max = 3_000;
    let (tight_turns, tight_starts, short_keys) = (chance.one_in(2), chance.one_in(4), chance.one_in(3));
    let (per_turn, per_visit) = (1 + chance.below(12) as u32, 1 + chance.below(6) as u32);
    let (few_signals, few_levels, few_awake) = (chance.one_in(4), chance.one_in(4), chance.one_in(4));
    if plan.has("limits") {
        if tight_turns {
            config.limits.events_per_turn_max = per_turn;
            config.limits.events_per_visit_max = per_visit;
        }
        if tight_starts {
            config.limits.runs_open_max = 2;
            config.limits.runs_ended_max = 2;
        }
        if few_signals {
            config.limits.signals_buffered_max = 1 + per_visit as usize;
        }
        if few_levels {
            config.limits.depth_max = 2;
        }
        if few_awake {
            config.limits.runs_awake_max = 1;
        }
        // Drawn apart from the rest, as what is encrypted.
        let mut chance = Chance::of(plan.seed, "patches", 0);
        if chance.one_in(2) {
            config.limits.proposals_per_run_max = 1 + chance.below(2) as usize;
            config.limits.agent_nodes_max = 1 + chance.below(3) as usize;
            config.limits.agent_depth_max = 1;
        }
        if chance.one_in(8) {
            config.limits.patches_per_run_max = 2;
        }
        if short_keys {
            config.limits.idempotency_ttl_ns = 40 * SECOND;
        }
    }
    // Drawn apart from the rest: with a key or without one, the same happens.
    let is_encrypted = Chance::of(plan.seed, "keys", 0).one_in(3);
    let keys = if is_encrypted { MasterKeys::parse(KEY) } else { Ok(MasterKeys::default()) };
    let keys = keys.map_err(|error| Wrong(error.to_string()))?;
    if is_encrypted {
        coverage.fault("encrypted");
    }
    let archives = Chance::of(plan.seed, "archives", 0).one_in(6);
    let options = Options {
        keys,
        segment_bytes: 64 << 10,
        first_segment_bytes: 8 << 10 << chance.below(3),
        group_bytes_max: 16 << 20,
        record_bytes_max: 8 << 20,
        queue_bytes_max: 32 << 20,
        archive_after_segments: if archives { 0 } else { u64::MAX },
    };
    let disk = SimDisk::new(chance.next());
    let (house, recovered) = House::open(&disk, &config, &options).map_err(|error| Wrong(error.to_string()))?;
    let mut world = World {
        plan,
        coverage,
        ledger: Ledger::new(config.limits.clone()),
        config,
        options,
        disk,
        house,
        bodies: Vec::new(),
        first: 0,
        now: BEGINNING,
        term: recovered.term,
        tokens: 0,
        lag: 1 + chance.below(3) * chance.below(5),
        starts: Vec::new(),
        versions: BTreeMap::new(),
        documents: BTreeMap::new(),
        patches: BTreeMap::new(),
        read: BTreeMap::new(),
        batch: Vec::new(),
        large,
    };
    for name in WORKFLOWS {
        world.register(name, false)?;
    }
    world.turn()?;
    for step in 0..plan.steps {
        if plan.has_step(step) {
            let mut chance = Chance::of(plan.seed, "step", step + 1);
            world.act(&mut chance).map_err(|wrong| Wrong(format!("step {step}: {wrong}")))?;
        }
    }
    world.end()
}

impl World<'_> {
    fn chance(&self, thing: &str, number: u64) -> Chance {
        Chance::of(self.plan.seed, thing, number)
    }

    fn ask(&mut self, asked: Option<Asked>, command: Command) {
        self.coverage.command(&command);
        let token = match asked {
            Some(asked) => {
                self.tokens += 1;
                self.house.asked.insert(self.tokens, asked);
                self.tokens
            }
            None => 0,
        };
        self.batch.push((token, command));
    }
}
