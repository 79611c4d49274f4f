//! What the measurements share.

use apex_machine::command::{Command, RegisterWorkflow, Selector, StartRun};
use apex_machine::{Config, Fidelity, Machine, RunId};
use rustix::time::{ClockId, clock_gettime};

/// CPU of this thread, ns: other work on the machine makes time pass, but not this.
pub(crate) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A machine that has a workflow.
pub(crate) fn machine_with(config: Config, definition: &str) -> Machine {
    let mut machine = Machine::new(config);
    let register = RegisterWorkflow { tenant: "t".into(), definition: definition.as_bytes().to_vec(), tag: None };
    machine.step(1, vec![(1, Command::RegisterWorkflow(register))]);
    machine.advance(u64::MAX).replies.remove(0).outcome.unwrap();
    machine
}

/// A start of its last version.
pub(crate) fn start(workflow: &str, run_id: RunId, inputs: Vec<u8>, fidelity: Option<Fidelity>) -> Command {
    Command::StartRun(Box::new(StartRun {
        tenant: "t".into(),
        run_id,
        workflow: workflow.into(),
        selector: Selector::Latest,
        inputs,
        idempotency_key: String::new(),
        request_hash: [0; 32],
        correlation: String::new(),
        priority: apex_ir::ir::Priority::Medium,
        labels: Vec::new(),
        fidelity,
        goal: None,
        schedule: String::new(),
    }))
}
