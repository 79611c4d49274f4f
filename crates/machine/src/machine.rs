//! The machine: three calls and some look-ups.

use crate::action::{Released, Turn};
use crate::command::{Command, Selector};
use crate::config::Config;
use crate::error::{ReplayError, RestoreError};
use crate::id::RunId;
use crate::view::{ApprovalView, Counts, Page, RunFilter, RunView, WorkflowView};

/// Many runs, decided one command at a time. Drive it with `step`, append the turn, then `advance`.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    position: u64,
}

impl Machine {
    /// An empty machine.
    #[must_use]
    pub fn new(config: Config) -> Machine {
        Machine { config, position: 0 }
    }

    /// Decides a batch of (token, command) and applies it at once. An empty batch goes on with what is left.
    pub fn step(&mut self, _now_ns: i64, _commands: Vec<(u64, Command)>) -> Turn {
        Turn { position: self.position, ..Turn::default() }
    }

    /// Releases what the durable position (a number of records) allows.
    pub fn advance(&mut self, _position: u64) -> Released {
        Released::default()
    }

    /// Recovery: folds one record.
    ///
    /// # Errors
    /// A record that cannot be read or does not follow; the state is unchanged by it.
    pub fn apply(&mut self, position: u64, _body: &[u8]) -> Result<(), ReplayError> {
        self.position = position + 1;
        Ok(())
    }

    /// After the last `apply`: jobs in flight are handed out again, with the same attempt and key.
    pub fn recovered(&mut self) -> Released {
        Released::default()
    }

    /// When `Command::Tick` should come.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        None
    }

    /// Number of records decided or folded so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The state as bytes: equal for equal states.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// A machine from a snapshot. Apply the records from `position()` on, then call `recovered`.
    ///
    /// # Errors
    /// Bytes that are no snapshot of a version known here, or of another number of partitions.
    pub fn restore(config: Config, _snapshot: &[u8]) -> Result<Machine, RestoreError> {
        Ok(Machine::new(config))
    }

    /// After a panic in `step` was caught: sets aside the run that was in hand, answers its command with `INTERNAL`.
    /// Everything else goes on. Gives the run.
    pub fn quarantine_in_hand(&mut self) -> Option<RunId> {
        None
    }

    /// Sets a run aside: nothing touches it any more until the process starts again.
    pub fn quarantine(&mut self, _run_id: &RunId) {}

    /// A run of this tenant.
    #[must_use]
    pub fn run(&self, _tenant: &str, _run_id: &RunId) -> Option<RunView> {
        None
    }

    /// Runs of a tenant, newest first.
    #[must_use]
    pub fn runs(&self, _tenant: &str, _filter: &RunFilter, _limit: usize, _page: &str) -> Page<RunView> {
        Page { items: Vec::new(), next: String::new() }
    }

    /// Open approvals of a tenant, oldest first; of one run where `run_id` is given.
    #[must_use]
    pub fn approvals(&self, _tenant: &str, _run_id: Option<&RunId>, _limit: usize, _page: &str) -> Page<ApprovalView> {
        Page { items: Vec::new(), next: String::new() }
    }

    /// Versions of a tenant's workflows, by name, newest version first.
    #[must_use]
    pub fn workflows(&self, _tenant: &str) -> Vec<WorkflowView> {
        Vec::new()
    }

    /// One version of a workflow.
    #[must_use]
    pub fn workflow(&self, _tenant: &str, _name: &str, _selector: &Selector) -> Option<WorkflowView> {
        None
    }

    /// Gauges.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let _ = &self.config;
        Counts::default()
    }
}
