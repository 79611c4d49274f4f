//! Patches on workflows: proposed, judged in batches, and made into versions (docs/decisions/0019).
//!
//! A step judges one patch, or makes one version: either is a compilation or two, and other commands are taken between
//! steps. What a step decides is recorded at once, so a batch goes on after a crash where it was.

use crate::action::{Answer, Refusal};
use crate::command::{PatchPolicy, PatchWorkflow, Selector, UnpatchWorkflow, author_kind};
use crate::error::code;
use crate::event::Event;
use crate::event::registry::{
    WorkflowPatchAccepted, WorkflowPatchProposed, WorkflowPatchRejected, WorkflowPatchRolledBack, WorkflowRegistered,
};
use crate::event::wire::{Amount, Hash, Json, Time, write_json_str};
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::registry::{over, unknown};
use crate::partition::turn::{refusal, refused};
use crate::run::agent::recorded;
use crate::run::conflict::{Other, key_reused};
use crate::run::patch::{gate_of, policy_refuses, shape_refused, unresolved};
use crate::run::rollback::stands;
use crate::state::fold::patch_set::set_key;
use crate::state::patch_set::{Patching, WorkflowPatch};
use crate::state::symbols::Sym;
use crate::state::trial::MAIN;
use crate::state::{State, Tenant};
use apex_ir::Ir;
use apex_ir::overlay::{
    self, Allowed, Grant, Operation, Patch, PatchLimits, Pointer, Standing, check_approvals, check_security,
    materialize, nodes_added, read_operations, resolve, write_operations,
};
use apex_ir::value::{self, Value, ValueLimits};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The set of a patch that names none.
const SET: &str = "patches";
const SET_BYTES_MAX: usize = 64;
/// Of a version, `+`, a set, `.` and a generation.
const VERSION_BYTES_MAX: usize = 128;
const GENERATION_BYTES: usize = 10;

/// What the patches of a set made when one of them was judged last; a cache over the state.
#[derive(Debug)]
pub(crate) struct Draft {
    tenant: Sym,
    workflow: Sym,
    set: Box<str>,
    /// The last patch in it.
    number: u32,
    ir: Ir,
}

/// A patch that a step compiles: its workflow, its number and the end of its batch.
#[derive(Debug)]
pub(crate) struct Compiling {
    tenant: Sym,
    workflow: Sym,
    number: u32,
    batch: u32,
}

/// A base, and the operations of each patch on it.
type Layers = (Arc<Program>, Vec<Vec<Operation>>);

/// Why a patch is not taken, and at which gate.
struct Refused {
    gate: &'static str,
    refusal: Refusal,
}

impl Machine {
    pub(crate) fn patch_workflow(&mut self, token: u64, command: &PatchWorkflow) {
        let outcome = self.try_patch_workflow(command);
        self.reply(token, outcome);
    }

    fn try_patch_workflow(&mut self, command: &PatchWorkflow) -> Result<Answer, Refusal> {
        let limits = self.config.limits.clone();
        for (what, name) in
            [("tenant", &command.tenant), ("author", &command.author), ("idempotency_key", &command.idempotency_key)]
        {
            self.check_name(what, name)?;
        }
        self.check_text("reason", &command.reason)?;
        let shape = self.shape();
        Patch::parse(&command.operations, &shape).map_err(shape_refused)?;
        let patch = value::canonical(&command.operations, &ValueLimits::default()).unwrap_or_default();
        let not_there = || unknown(&command.name, &command.selector);
        let version = self.state.select(&command.tenant, &command.name, &command.selector).ok_or_else(not_there)?;
        let workflow = self.state.workflow(&command.tenant, &command.name).ok_or_else(not_there)?;
        let (base, set) = self.state.target(&command.tenant, &command.name, version.version, &command.set);
        let tag = match &command.selector {
            Selector::Version(_) => "",
            Selector::Tag(tag) => tag,
            Selector::Latest if workflow.tags.contains_key(MAIN) => MAIN,
            Selector::Latest => "",
        };
        check_set(&base, &set)?;
        let request_hash = request_hash(command);
        let nothing = Patching::default();
        let patching = workflow.patching.as_deref().unwrap_or(&nothing);
        let has_key =
            |patch: &WorkflowPatch| !command.idempotency_key.is_empty() && *patch.key == command.idempotency_key;
        if let Some((&number, standing)) = patching.patches.iter().find(|(_, patch)| has_key(patch)) {
            if standing.request_hash != request_hash {
                return Err(key_reused(&command.idempotency_key, 0, &other(&command.name, number, &[])));
            }
            return Ok(proposed(&command.name, number, true));
        }
        check_policy(command.policy, &command.author)?;
        let key = set_key(&base, &set);
        if patching.waiting.len() >= limits.workflow_patches_waiting_max {
            return Err(over("workflow_patches_waiting_max", limits.workflow_patches_waiting_max));
        }
        let held = self.state.symbols.find(&command.tenant).and_then(|sym| self.state.tenants.get(&sym));
        let bytes_max = limits.workflow_patches_waiting_bytes_max;
        if held.map_or(0, |held| held.waiting_bytes) + patch.len() > bytes_max {
            return Err(over("workflow_patches_waiting_bytes_max", bytes_max));
        }
        let sets_max = limits.patch_sets_per_workflow_max;
        if !patching.sets.contains_key(&*key) && patching.sets.len() >= sets_max {
            return Err(over("patch_sets_per_workflow_max", sets_max));
        }
        let number = patching.last + 1;
        let next_batch = patching.waiting.iter().filter(|&&number| number > patching.batch).count() + 1;
        let is_full = command.at_once || next_batch.is_multiple_of(limits.patch_batch_max);
        let due = if is_full { self.now } else { self.now.saturating_add(limits.patch_batch_ns) };
        let event = Event::WorkflowPatchProposed(WorkflowPatchProposed {
            name: &command.name,
            number,
            base_version: &base,
            set: &set,
            tag,
            patch: Json(&patch),
            author: &command.author,
            reason: &command.reason,
            idempotency_key: &command.idempotency_key,
            request_hash: Hash(request_hash),
            grant: Json(&write_grant(&command.grant)),
            due: Time(due.max(1)),
        });
        self.emit_registry(&command.tenant, &event);
        Ok(proposed(&command.name, number, false))
    }

    fn shape(&self) -> PatchLimits {
        PatchLimits { bytes_max: self.config.limits.patch_bytes_max, ..PatchLimits::default() }
    }

    /// One step for the workflow whose batch is due first. `true`: there is more to do now.
    pub(crate) fn patch_some(&mut self) -> bool {
        let is_due = |machine: &Machine| {
            let first = machine.state.index.patching.first().copied();
            first.filter(|&(due, ..)| due <= machine.now)
        };
        let Some((_, tenant, workflow)) = is_due(self) else { return false };
        if self.has_room() {
            self.patch_step(tenant, workflow);
        }
        is_due(self).is_some()
    }

    fn patch_step(&mut self, tenant: Sym, workflow: Sym) {
        let Some(patching) = self.state.patching(tenant, workflow) else { return };
        if let Some(number) = patching.next_of_batch() {
            let batch = patching.batch;
            self.judge_patch(tenant, workflow, number, batch);
        } else if let Some(set) = patching.changed().map(Box::<str>::from) {
            self.derive(tenant, workflow, &set);
        } else if patching.moving().is_some() {
            self.move_tags(tenant, workflow);
        } else {
            let mut batch = patching.waiting.iter().copied().take(self.config.limits.patch_batch_max);
            let Some(first) = batch.next() else { return };
            let last = batch.next_back().unwrap_or(first);
            self.judge_patch(tenant, workflow, first, last);
        }
    }

    /// Takes a patch into its set, or refuses it; the batch that is open ends with `batch`.
    fn judge_patch(&mut self, tenant: Sym, workflow: Sym, number: u32, batch: u32) {
        self.compiling = Some(Compiling { tenant, workflow, number, batch });
        let outcome = self.try_judge(tenant, workflow, number);
        self.compiling = None;
        let nodes = self.draft.as_ref().map_or(0, |draft| draft.ir.nodes.len());
        self.note_compiled(nodes);
        let names = |sym| self.state.symbols.name(sym).clone();
        let (tenant, name) = (names(tenant), names(workflow));
        match outcome {
            Ok(operations) => {
                let operations = Json(&operations);
                let event = WorkflowPatchAccepted { name: &name, number, operations, batch };
                self.emit_registry(&tenant, &Event::WorkflowPatchAccepted(event));
                self.tally.workflow_patches_accepted += 1;
            }
            Err(refused) => self.reject(&tenant, &name, number, batch, &refused),
        }
    }

    /// Refuses the patch at which the machine failed.
    pub(crate) fn refuse_compiling(&mut self, compiling: &Compiling) {
        let &Compiling { tenant, workflow, number, batch } = compiling;
        self.draft = None;
        let names = |sym| self.state.symbols.name(sym).clone();
        let (tenant, name) = (names(tenant), names(workflow));
        let refused = meaning(refusal(code::INTERNAL, "the machine failed on this patch"));
        self.reject(&tenant, &name, number, batch, &refused);
    }

    fn reject(&mut self, tenant: &str, name: &str, number: u32, batch: u32, refused: &Refused) {
        let Refused { gate, refusal: Refusal { code, message, details } } = refused;
        let kept_max = self.config.limits.workflow_patches_refused_max;
        let details = recorded(details);
        let event = WorkflowPatchRejected { name, number, gate, code, message, details, batch, kept_max };
        self.emit_registry(tenant, &Event::WorkflowPatchRejected(event));
        self.tally.workflow_patches_rejected += 1;
    }

    /// The operations on ids of a patch, on what those before it made.
    fn try_judge(&mut self, tenant: Sym, workflow: Sym, number: u32) -> Result<Vec<u8>, Refused> {
        let gone = || meaning(refusal(code::DEFINITION_UNREADABLE, "the patch is not there"));
        let patching = self.state.patching(tenant, workflow).ok_or_else(gone)?;
        let patch = patching.patches.get(&number).ok_or_else(gone)?;
        let (key, document, grant) = (patch.set.clone(), patch.patch.clone(), patch.grant.clone());
        self.check_room(tenant).map_err(limited)?;
        self.check_set_room(patching, &key, document.len()).map_err(limited)?;
        let before = match self.draft.take() {
            Some(draft) if (draft.tenant, draft.workflow, &draft.set) == (tenant, workflow, &key) => {
                let last = patching.taken(&key).last().map_or(0, |(number, ..)| number);
                if draft.number == last { Some(draft.ir) } else { None }
            }
            _ => None,
        };
        let before = match before {
            Some(ir) => ir,
            None => self.made_of(tenant, workflow, &key, None).map_err(|reason| {
                meaning(refusal(code::DEFINITION_UNREADABLE, format!("what it patches does not compile: {reason}")))
            })?,
        };
        let (shape, functions) = (self.shape(), self.functions.as_ref());
        let resolved = resolve(&before, &document, functions, &shape, &apex_ir::Limits::default());
        let resolved = resolved.map_err(|found| at_gate(unresolved(found)))?;
        if resolved.operations.is_empty() {
            return Err(meaning(refusal(code::PATCH_MEANING_REFUSED, "the patch changes nothing")));
        }
        let found = check_security(&before, &resolved, functions, &read_grant(&grant));
        if !found.is_empty() {
            return Err(at_gate(refused(code::PATCH_SECURITY_REFUSED, found)));
        }
        let limits = &self.config.limits;
        if resolved.ir.canonical.len() > limits.definition_bytes_max {
            return Err(limited(over("definition_bytes_max", limits.definition_bytes_max)));
        }
        if nodes_added(&resolved.operations) > limits.patch_nodes_max {
            return Err(limited(over("patch_nodes_max", limits.patch_nodes_max)));
        }
        let operations = write_operations(&resolved.operations);
        let patching = self.state.patching(tenant, workflow).ok_or_else(gone)?;
        self.check_set_room(patching, &key, document.len() + operations.len()).map_err(limited)?;
        self.draft = Some(Draft { tenant, workflow, set: key, number, ir: resolved.ir });
        Ok(operations)
    }

    /// Refuses another version where there are as many as there may be.
    fn check_room(&self, tenant: Sym) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if self.state.registry.versions >= limits.workflows_max {
            return Err(over("workflows_max", limits.workflows_max));
        }
        if self.state.tenants.get(&tenant).map_or(0, Tenant::versions) >= limits.workflows_per_tenant_max {
            return Err(over("workflows_per_tenant_max", limits.workflows_per_tenant_max));
        }
        Ok(())
    }

    fn check_set_room(&self, patching: &Patching, set: &str, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let (mut count, mut held) = (0, 0);
        for (_, patch, taken) in patching.taken(set) {
            count += 1;
            held += patch.patch.len() + taken.operations.len();
        }
        if count >= limits.patches_per_set_max {
            return Err(over("patches_per_set_max", limits.patches_per_set_max));
        }
        if held + bytes > limits.patch_set_bytes_max {
            return Err(over("patch_set_bytes_max", limits.patch_set_bytes_max));
        }
        Ok(())
    }

    /// The definition that the patches of a set in force make of its base; with a `version`, under that one.
    fn made_of(&mut self, tenant: Sym, workflow: Sym, set: &str, version: Option<&str>) -> Result<Ir, String> {
        let (base, mut layers) = self.layers_of(tenant, workflow, set)?;
        if let Some(version) = version {
            let (at, value) = (Pointer::new(["version"]), Value::text(version));
            layers.push(vec![Operation::Set { node: None, at, value }]);
        }
        materialize(&base.ir, &layers, &apex_ir::Limits::default()).map_err(|found| found.reason())
    }

    /// The base of a set, and the operations of its patches in force.
    fn layers_of(&mut self, tenant: Sym, workflow: Sym, set: &str) -> Result<Layers, String> {
        let gone = || "the patch set is not there".to_owned();
        let patching = self.state.patching(tenant, workflow).ok_or_else(gone)?;
        let base = patching.sets.get(set).ok_or_else(gone)?.base;
        let in_force = patching.taken(set).filter(|(.., taken)| taken.is_in_force());
        let layers: Result<_, String> = in_force.map(|(.., taken)| read_operations(&taken.operations)).collect();
        Ok((self.program(tenant, workflow, base)?, layers?))
    }

    /// Registers what the patches of a set make, and moves the tags that are to follow.
    fn derive(&mut self, tenant: Sym, workflow: Sym, key: &str) {
        let names = |sym| self.state.symbols.name(sym).clone();
        let (tenant_name, name) = (names(tenant), names(workflow));
        let Some(patching) = self.state.patching(tenant, workflow) else { return };
        let Some((base, set)) = key.rsplit_once('+') else { return };
        let Some(mut generation) = patching.sets.get(key).map(|set| set.generation + 1) else { return };
        let of = |generation: u32| format!("{key}.{generation}");
        let is_taken = |version: &str| {
            let version = self.state.symbols.find(version);
            version.is_some_and(|version| self.state.version(tenant, workflow, version).is_some())
        };
        while is_taken(&of(generation)) {
            generation += 1;
        }
        let version = of(generation);
        let ir = match self.made_of(tenant, workflow, key, Some(&version)) {
            Ok(ir) => ir,
            Err(reason) => {
                // Only where another compiler judges them than the one that took them.
                let Some(patching) = self.state.patching(tenant, workflow) else { return };
                let (mut in_force, mut dropped) = (None, None);
                for (number, _, taken) in patching.taken(key) {
                    *(if taken.is_in_force() { &mut in_force } else { &mut dropped }) = Some(number);
                }
                let Some(number) = in_force.or(dropped) else { return };
                let refused = meaning(refusal(code::DEFINITION_UNREADABLE, reason));
                self.reject(&tenant_name, &name, number, 0, &refused);
                return;
            }
        };
        let event = WorkflowRegistered {
            name: &name,
            version: &version,
            hash: Hash(ir.hash),
            definition: Json(&ir.canonical),
            base_version: base,
            set,
            generation: Amount(i64::from(generation)),
        };
        self.emit_registry(&tenant_name, &Event::WorkflowRegistered(event));
        self.tally.versions_derived += 1;
        let hash = ir.hash;
        let program = self.programmed(ir);
        self.programs.put(hash, program, self.config.limits.programs_max);
        self.move_tags(tenant, workflow);
    }

    /// Points the tags that follow patch sets of a workflow at their last versions.
    fn move_tags(&mut self, tenant: Sym, workflow: Sym) {
        let names = |state: &State, sym| state.symbols.name(sym).clone();
        while let Some((tag, head)) = self.state.patching(tenant, workflow).and_then(Patching::moving) {
            let tag = tag.to_owned();
            let head = names(&self.state, head);
            let (tenant, name) = (names(&self.state, tenant), names(&self.state, workflow));
            self.move_tag(&tenant, &name, &tag, &head);
        }
    }

    pub(crate) fn unpatch_workflow(&mut self, token: u64, command: &UnpatchWorkflow) {
        let outcome = self.try_unpatch_workflow(command);
        self.reply(token, outcome);
    }

    fn try_unpatch_workflow(&mut self, command: &UnpatchWorkflow) -> Result<Answer, Refusal> {
        self.check_name("by", &command.by)?;
        self.check_text("reason", &command.reason)?;
        let not_there = || refusal(code::PATCH_NOT_FOUND, format!("there is no patch {:?}", command.patch_id));
        let (name, number) = command.patch_id.rsplit_once("~w").ok_or_else(not_there)?;
        let number: u32 = number.parse().map_err(|_| not_there())?;
        if id_of(name, number) != command.patch_id {
            return Err(not_there());
        }
        let symbols = &self.state.symbols;
        let (tenant, workflow) = symbols.find(&command.tenant).zip(symbols.find(name)).ok_or_else(not_there)?;
        let patching = self.state.patching(tenant, workflow).ok_or_else(not_there)?;
        let patch = patching.patches.get(&number).ok_or_else(not_there)?;
        let key = patch.set.clone();
        let taken = patch.taken().filter(|taken| taken.generation != 0).ok_or_else(|| {
            let message = format!("patch {} is in no version", command.patch_id);
            refusal(code::WRONG_STATE, message)
        })?;
        if taken.dropped {
            let version = if taken.without == 0 { String::new() } else { format!("{key}.{}", taken.without) };
            return Ok(unpatched(&command.patch_id, &version, true));
        }
        self.check_room(tenant)?;
        let in_force: Vec<u32> =
            patching.taken(&key).filter(|(.., taken)| taken.is_in_force()).map(|(number, ..)| number).collect();
        let unreadable = |reason| refusal(code::DEFINITION_UNREADABLE, reason);
        let (base, layers) = self.layers_of(tenant, workflow, &key).map_err(unreadable)?;
        let at = in_force.iter().position(|&at| at == number).ok_or_else(not_there)?;
        let limits = apex_ir::Limits::default();
        let without = overlay::rollback(&base.ir, &layers, at, &limits).map_err(|standing| match standing {
            Standing::Unknown => not_there(),
            Standing::Base(found) => unreadable(found.reason()),
            Standing::Stands { patch, what } => {
                let later = in_force.iter().zip(&layers).skip(at + 1);
                let later: Vec<Other> = later.map(|(&number, operations)| other(name, number, operations)).collect();
                stands(0, &layers[at], &later, patch - at - 1, &what)
            }
        })?;
        if !command.grant.privileges {
            let with = materialize(&base.ir, &layers, &limits).map_err(|found| unreadable(found.reason()))?;
            let found = check_approvals(&with, &without, &command.grant);
            if !found.is_empty() {
                return Err(refused(code::PATCH_SECURITY_REFUSED, found));
            }
        }
        let event = WorkflowPatchRolledBack { name, number, reason: &command.reason, by: &command.by };
        self.emit_registry(&command.tenant, &Event::WorkflowPatchRolledBack(event));
        self.draft = None;
        self.derive(tenant, workflow, &key);
        let set = self.state.patching(tenant, workflow).and_then(|patching| patching.sets.get(&key));
        let version = set.map_or_else(String::new, |set| self.state.symbols.name(set.head).to_string());
        Ok(unpatched(&command.patch_id, &version, false))
    }
}

impl Tenant {
    /// Versions of all its workflows.
    pub(crate) fn versions(&self) -> usize {
        self.workflows.values().map(|workflow| workflow.versions.len()).sum()
    }
}

impl State {
    /// The patches on a workflow.
    pub(crate) fn patching(&self, tenant: Sym, workflow: Sym) -> Option<&Patching> {
        self.tenants.get(&tenant)?.workflows.get(&workflow)?.patching.as_deref()
    }

    /// The base and the name of the set that a patch on a version is for. A derived version stands for its set, unless
    /// another set is named: that one stands on it.
    fn target(&self, tenant: &str, name: &str, version: Sym, set: &str) -> (String, String) {
        let workflow = self.workflow(tenant, name);
        let derived = workflow.and_then(|workflow| workflow.version(version)?.derived.as_ref());
        match derived.and_then(|derived| derived.set.rsplit_once('+')) {
            Some((base, of)) if set.is_empty() || set == of => (base.to_owned(), of.to_owned()),
            _ => (self.symbols.name(version).to_string(), if set.is_empty() { SET } else { set }.to_owned()),
        }
    }
}

/// The id of a patch on a workflow.
pub(crate) fn id_of(workflow: &str, number: u32) -> String {
    format!("{workflow}~w{number}")
}

/// A patch that another one is compared with.
fn other(workflow: &str, number: u32, operations: &[Operation]) -> Other {
    Other { id: id_of(workflow, number), epoch: 0, dropped: 0, operations: operations.to_vec() }
}

fn proposed(workflow: &str, number: u32, existing: bool) -> Answer {
    let mut details = b"{\"patch_id\":".to_vec();
    write_json_str(&id_of(workflow, number), &mut details);
    details.push(b'}');
    Answer { existing, details, ..Answer::default() }
}

fn unpatched(patch_id: &str, version: &str, existing: bool) -> Answer {
    let mut details = b"{\"patch_id\":".to_vec();
    write_json_str(patch_id, &mut details);
    details.extend_from_slice(b",\"version\":");
    write_json_str(version, &mut details);
    details.push(b'}');
    Answer { existing, details, ..Answer::default() }
}

fn check_set(base: &str, set: &str) -> Result<(), Refusal> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if set.len() > SET_BYTES_MAX || !set.bytes().all(named) {
        let message = format!("the name of a patch set has 1 to {SET_BYTES_MAX} of the letters A-Z, a-z, 0-9, _ and -");
        return Err(refusal(code::VALUE_INVALID, message));
    }
    if base.len() + set.len() + 2 + GENERATION_BYTES > VERSION_BYTES_MAX {
        let message = format!("version {base} and patch set {set} make a name over {VERSION_BYTES_MAX} bytes");
        return Err(refusal(code::VALUE_INVALID, message));
    }
    Ok(())
}

/// Refuses what a policy for the kind of the author does.
fn check_policy(policy: PatchPolicy, author: &str) -> Result<(), Refusal> {
    let kind = author_kind(author);
    let message = match policy {
        PatchPolicy::Apply => return Ok(()),
        PatchPolicy::Refuse => return Err(policy_refuses(author)),
        PatchPolicy::Approve if kind == "optimizer" => {
            format!("patches.{kind}_policy is approve: a person takes what a pass proposes for a version")
        }
        PatchPolicy::Approve => format!(
            "patches.{kind}_policy is approve, and a patch of a workflow waits for nobody: register a version instead"
        ),
    };
    Err(refusal(code::PATCH_SECURITY_REFUSED, message))
}

fn request_hash(command: &PatchWorkflow) -> [u8; 32] {
    let selector = match &command.selector {
        Selector::Version(version) => format!("version {version}"),
        Selector::Tag(tag) => format!("tag {tag}"),
        Selector::Latest => String::new(),
    };
    let mut sha = Sha256::new();
    let texts = [&command.name, &selector, &command.set, &command.reason, &command.author];
    for part in texts.into_iter().map(String::as_bytes).chain([&*command.operations]) {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

fn limited(refusal: Refusal) -> Refused {
    Refused { gate: "limit", refusal }
}

/// The gate is the one of its code.
fn at_gate(refusal: Refusal) -> Refused {
    Refused { gate: gate_of(refusal.code), refusal }
}

fn meaning(refusal: Refusal) -> Refused {
    Refused { gate: "meaning", refusal }
}

/// What an author may, as it stands in the log.
fn write_grant(grant: &Grant) -> Vec<u8> {
    let names = |allowed: &Allowed| match allowed {
        Allowed::Any => json!("any"),
        Allowed::Only(names) => json!(names),
    };
    let Grant { hosts, functions, workflows, models, secrets, privileges } = grant;
    let grant = json!({"hosts": names(hosts), "functions": names(functions), "workflows": names(workflows),
        "models": names(models), "secrets": names(secrets), "privileges": privileges});
    grant.to_string().into_bytes()
}

/// Reads that; what is not there is not granted.
fn read_grant(bytes: &[u8]) -> Grant {
    let grant: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let names = |name: &str| match &grant[name] {
        serde_json::Value::String(any) if any == "any" => Allowed::Any,
        serde_json::Value::Array(names) => {
            Allowed::Only(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
        }
        _ => Allowed::Only(BTreeSet::new()),
    };
    Grant {
        hosts: names("hosts"),
        functions: names("functions"),
        workflows: names("workflows"),
        models: names("models"),
        secrets: names("secrets"),
        privileges: grant["privileges"] == json!(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Command;
    use crate::command::RegisterWorkflow;
    use crate::view::PatchStatus;

    #[test]
    fn a_patch_at_which_the_machine_fails_is_refused_and_the_next_one_is_not() {
        let mut machine = Machine::new(crate::Config::default());
        let definition = json!({"name": "w", "version": "1", "edges": [],
            "nodes": [{"id": "a", "type": "timer", "config": {"duration_s": 1}}]});
        let definition = definition.to_string().into_bytes();
        let register = RegisterWorkflow { tenant: "t".into(), definition, tag: None };
        let patch = |seconds: u32| {
            let operations = json!([{"op": "replace", "path": "/nodes/0/config/duration_s", "value": seconds}]);
            Command::PatchWorkflow(Box::new(PatchWorkflow {
                tenant: "t".into(),
                name: "w".into(),
                selector: Selector::Latest,
                set: String::new(),
                operations: operations.to_string().into_bytes(),
                reason: String::new(),
                author: String::new(),
                idempotency_key: String::new(),
                policy: PatchPolicy::Apply,
                grant: Grant::all(),
                at_once: false,
            }))
        };
        machine.step(1, vec![(0, Command::RegisterWorkflow(register)), (0, patch(2)), (0, patch(3))]);
        // As it stands while the first one is compiled.
        let find = |name| machine.state.symbols.find(name).unwrap();
        machine.compiling = Some(Compiling { tenant: find("t"), workflow: find("w"), number: 1, batch: 2 });
        assert_eq!(machine.quarantine_in_hand(), Some(crate::RunId::REGISTRY));
        while machine.step(10_000_000_000, vec![(0, Command::Tick)]).more {}
        let first = machine.workflow_patch("t", "w~w1").unwrap();
        assert_eq!((first.status, first.refused.unwrap().code.as_str()), (PatchStatus::Rejected, code::INTERNAL));
        let second = machine.workflow_patch("t", "w~w2").unwrap();
        assert_eq!((second.status, second.version.as_str()), (PatchStatus::Applied, "1+patches.1"));
        assert_eq!(machine.quarantine_in_hand(), None, "nothing is in hand");
    }

    #[test]
    fn what_a_grant_does_not_say_is_not_granted() {
        let hosts = Allowed::Only(BTreeSet::from(["a.example".to_owned()]));
        for grant in [Grant::all(), Grant { hosts, ..Grant::default() }, Grant::default()] {
            assert_eq!(read_grant(&write_grant(&grant)), grant);
        }
        for nothing in [&b"{no"[..], b"{}", b"{\"hosts\":\"all\",\"functions\":true,\"privileges\":\"any\"}"] {
            assert_eq!(read_grant(nothing), Grant::default());
        }
    }
}
