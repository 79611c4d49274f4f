//! What the machine is told once: its partitions, its term, its limits.

use crate::command::Fidelity;

/// Configuration of a machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Partitions of the store, for life. A run id that carries a higher one is refused.
    pub partitions: u16,
    /// Number of this ownership; written into every record.
    pub term: u64,
    /// What is recorded of a run whose start does not say.
    pub fidelity: Fidelity,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config { partitions: 64, term: 1, fidelity: Fidelity::Full, limits: Limits::default() }
    }
}

/// Every bound of the machine. What is over one is refused with a clear error, never dropped.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Records in a turn; what is left goes on in the next one.
    pub events_per_turn_max: u32,
    /// Bytes of records in a turn, exceeded by one record at most.
    pub bytes_per_turn_max: usize,
    /// Events that one run may record before others with work are served.
    pub events_per_visit_max: u32,
    /// Open runs; a start over it is `LIMIT_EXCEEDED`.
    pub runs_open_max: usize,
    /// Open runs kept ready to go on; over it those that only wait are laid to rest, and woken when something happens
    /// to them.
    pub runs_awake_max: usize,
    /// Open runs of one tenant.
    pub runs_open_per_tenant_max: usize,
    /// Ended runs that stay listed; the oldest leave first.
    pub runs_ended_max: u64,
    /// Items of a map, where its definition allows more; over it the node fails with `LimitExceeded`.
    pub items_max: u32,
    /// Scopes that one run may open in all; over it a map fails with `LimitExceeded`.
    pub scopes_per_run_max: u32,
    /// Runs that stand in each other, the root included; over it a composite node fails with `LimitExceeded`.
    pub depth_max: u32,
    /// Bytes of a result; over it the attempt fails with `LimitExceeded`.
    pub result_bytes_max: usize,
    /// Bytes of inputs; over it a start is `LIMIT_EXCEEDED`.
    pub inputs_bytes_max: usize,
    /// Bytes that an expression or template may yield; over it `LimitExceeded`.
    pub rendered_bytes_max: usize,
    /// Bytes of one record.
    pub record_bytes_max: usize,
    /// Bytes of a definition.
    pub definition_bytes_max: usize,
    /// Versions of workflows in the registry, all tenants.
    pub workflows_max: usize,
    /// Versions of workflows of one tenant.
    pub workflows_per_tenant_max: usize,
    /// Schedules of one tenant.
    pub schedules_per_tenant_max: usize,
    /// Bytes of the inputs of a schedule.
    pub schedule_inputs_bytes_max: usize,
    /// Characters of names that clients choose: tenant, key, correlation, tag, reason (16 times that).
    pub name_bytes_max: usize,
    /// Labels of a run.
    pub labels_max: usize,
    /// Compiled definitions kept in memory.
    pub programs_max: usize,
    /// Idempotency keys kept; a start with a new one over it is `LIMIT_EXCEEDED`.
    pub idempotency_keys_max: usize,
    /// Those of one tenant.
    pub idempotency_keys_per_tenant_max: usize,
    /// How long an idempotency key is kept after the end of its run.
    pub idempotency_ttl_ns: i64,
    /// Bytes of the progress of a heartbeat.
    pub progress_bytes_max: usize,
    /// Dead letters listed; the oldest leave first.
    pub dead_letters_max: u64,
    /// Breakers that are remembered, all tenants: those that count failures, are not closed, or keep outputs. A tool or
    /// host beyond them goes unwatched.
    pub breakers_max: usize,
    /// Outputs that a breaker keeps for its fallback, one for each input.
    pub breaker_outputs_max: u32,
    /// Bytes of such an output; a larger one is not kept.
    pub breaker_output_bytes_max: usize,
    /// Cost units of one evaluation.
    pub expression_cost_max: u64,
    /// Signals that a run keeps until a node asks for them; over it a signal is `LIMIT_EXCEEDED`.
    pub signals_buffered_max: usize,
    /// Idempotency keys of signals that a run remembers; a signal with a new one over it is `LIMIT_EXCEEDED`.
    pub signal_keys_max: usize,
    /// Nodes that stand in line for one concurrency key; over it a node fails with `LimitExceeded`.
    pub lock_waiters_max: usize,
    /// Bytes of a patch as sent.
    pub patch_bytes_max: usize,
    /// Nodes that one patch adds.
    pub patch_nodes_max: usize,
    /// Patches of one run, dropped ones included.
    pub patches_per_run_max: usize,
    /// Nodes that the patches of one run add together.
    pub patched_nodes_max: usize,
    /// Bytes of the operations of all patches of one run.
    pub patched_bytes_max: usize,
    /// Patches on one workflow that wait for their batch.
    pub workflow_patches_waiting_max: usize,
    /// Bytes, as sent, of those of all workflows of one tenant.
    pub workflow_patches_waiting_bytes_max: usize,
    /// Refused patches on one workflow that stay listed.
    pub workflow_patches_refused_max: u64,
    /// Patches of one patch set, dropped ones included.
    pub patches_per_set_max: usize,
    /// Bytes of all patches of one patch set, as sent and as operations on ids.
    pub patch_set_bytes_max: usize,
    /// Patch sets of one workflow.
    pub patch_sets_per_workflow_max: usize,
    /// Patches on a workflow that make one version.
    pub patch_batch_max: usize,
    /// How long the first of them waits for others.
    pub patch_batch_ns: i64,
    /// Arms of a tag.
    pub arms_per_tag_max: usize,
    /// Patches of one run that wait for a person.
    pub proposals_per_run_max: usize,
    /// Nodes that the patches of one agent node add together.
    pub agent_nodes_max: usize,
    /// Agents that stand above each other: one that an agent's patch adds stands below that agent.
    pub agent_depth_max: usize,
    /// Summaries looked at for one page of a list; a page may be short where a filter is rare.
    pub list_scan_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            events_per_turn_max: 4_096,
            bytes_per_turn_max: 4 << 20,
            events_per_visit_max: 256,
            runs_open_max: 2_000_000,
            runs_awake_max: 10_000,
            runs_open_per_tenant_max: 1_000_000,
            runs_ended_max: 1_000_000,
            items_max: 100_000,
            scopes_per_run_max: 1_000_000,
            depth_max: 8,
            result_bytes_max: 4 << 20,
            inputs_bytes_max: 4 << 20,
            rendered_bytes_max: 4 << 20,
            record_bytes_max: 16 << 20,
            definition_bytes_max: 4 << 20,
            workflows_max: 100_000,
            workflows_per_tenant_max: 50_000,
            schedules_per_tenant_max: 10_000,
            schedule_inputs_bytes_max: 64 << 10,
            name_bytes_max: 255,
            labels_max: 32,
            programs_max: 4_096,
            idempotency_keys_max: 10_000_000,
            idempotency_keys_per_tenant_max: 5_000_000,
            idempotency_ttl_ns: 7 * 86_400 * 1_000_000_000,
            progress_bytes_max: 64 << 10,
            dead_letters_max: 100_000,
            breakers_max: 10_000,
            breaker_outputs_max: 64,
            breaker_output_bytes_max: 64 << 10,
            expression_cost_max: 100_000,
            signals_buffered_max: 1_000,
            signal_keys_max: 10_000,
            lock_waiters_max: 100_000,
            patch_bytes_max: 256 << 10,
            patch_nodes_max: 1_000,
            patches_per_run_max: 100,
            patched_nodes_max: 10_000,
            patched_bytes_max: 1 << 20,
            workflow_patches_waiting_max: 1_000,
            workflow_patches_waiting_bytes_max: 32 << 20,
            workflow_patches_refused_max: 100,
            patches_per_set_max: 1_000,
            patch_set_bytes_max: 4 << 20,
            patch_sets_per_workflow_max: 100,
            patch_batch_max: 100,
            patch_batch_ns: 5_000_000_000,
            arms_per_tag_max: 10,
            proposals_per_run_max: 16,
            agent_nodes_max: 100,
            agent_depth_max: 3,
            list_scan_max: 100_000,
        }
    }
}

/// The limits by their names, for callers that hold them as a table.
macro_rules! table {
    ($($name:ident,)*) => {
        impl Limits {
            /// Sets a limit by its name. `false`: no such limit, or out of range.
            pub fn set(&mut self, name: &str, value: i64) -> bool {
                fn put<T: TryFrom<i64>>(place: &mut T, value: i64) -> bool {
                    T::try_from(value).map(|v| *place = v).is_ok()
                }
                value > 0 && match name {
                    $(stringify!($name) => put(&mut self.$name, value),)*
                    _ => false,
                }
            }

            /// Every limit: its name and value.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, i64)> {
                vec![$((stringify!($name), i64::try_from(self.$name).unwrap_or(i64::MAX)),)*]
            }
        }
    };
}

table! {
    events_per_turn_max,
    bytes_per_turn_max,
    events_per_visit_max,
    runs_open_max,
    runs_awake_max,
    runs_open_per_tenant_max,
    runs_ended_max,
    items_max,
    scopes_per_run_max,
    depth_max,
    result_bytes_max,
    inputs_bytes_max,
    rendered_bytes_max,
    record_bytes_max,
    definition_bytes_max,
    workflows_max,
    workflows_per_tenant_max,
    schedules_per_tenant_max,
    schedule_inputs_bytes_max,
    name_bytes_max,
    labels_max,
    programs_max,
    idempotency_keys_max,
    idempotency_keys_per_tenant_max,
    idempotency_ttl_ns,
    progress_bytes_max,
    dead_letters_max,
    breakers_max,
    breaker_outputs_max,
    breaker_output_bytes_max,
    expression_cost_max,
    signals_buffered_max,
    signal_keys_max,
    lock_waiters_max,
    patch_bytes_max,
    patch_nodes_max,
    patches_per_run_max,
    patched_nodes_max,
    patched_bytes_max,
    workflow_patches_waiting_max,
    workflow_patches_waiting_bytes_max,
    workflow_patches_refused_max,
    patches_per_set_max,
    patch_set_bytes_max,
    patch_sets_per_workflow_max,
    patch_batch_max,
    patch_batch_ns,
    arms_per_tag_max,
    proposals_per_run_max,
    agent_nodes_max,
    agent_depth_max,
    list_scan_max,
}
