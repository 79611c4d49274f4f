//! Definitions: registered once, tagged, compiled when a run needs them.

use crate::action::{Answer, Refusal};
use crate::command::{RegisterWorkflow, Selector, TagWorkflow};
use crate::error::code;
use crate::event::Event;
use crate::event::registry::{WorkflowRegistered, WorkflowTagged};
use crate::event::wire::{Amount, Hash, Json, write_json_str};
use crate::machine::Machine;
use crate::partition::arms::Part;
use crate::partition::program::Program;
use crate::partition::turn::{refusal, refused};
use crate::state::logged::Logged;
use crate::state::run::Run;
use crate::state::symbols::Sym;
use crate::state::trial::MAIN;
use crate::state::{State, Tenant, Version, Workflow};
use apex_ir::Ir;
use apex_ir::overlay::{materialize, read_operations};
use std::sync::Arc;

/// Compiling a node takes as long as deciding about so many records (`cargo run --example patch`, `--example route`).
const RECORDS_PER_NODE: u32 = 4;

impl Machine {
    pub(crate) fn register(&mut self, token: u64, command: &RegisterWorkflow) {
        let outcome = self.try_register(command);
        self.reply(token, outcome);
    }

    fn try_register(&mut self, command: &RegisterWorkflow) -> Result<Answer, Refusal> {
        let limits = &self.config.limits;
        self.check_name("tenant", &command.tenant)?;
        self.check_name("tag", command.tag.as_deref().unwrap_or_default())?;
        if command.definition.len() > limits.definition_bytes_max {
            return Err(over("definition_bytes_max", limits.definition_bytes_max));
        }
        let ir = apex_ir::compile(&command.definition, None, &apex_ir::Limits::default())
            .map_err(|found| refused(code::WORKFLOW_INVALID, found))?;
        self.check_name("name", &ir.name)?;
        self.check_name("version", &ir.version)?;
        let found = self.state.workflow(&command.tenant, &ir.name);
        let is_new = found.is_none();
        let standing = found.and_then(|workflow| {
            let version = self.state.symbols.find(&ir.version)?;
            workflow.versions.iter().find(|v| v.version == version)
        });
        let existing = standing.is_some();
        if standing.is_some_and(|standing| *standing.definition != *ir.canonical) {
            return Err(refusal(
                code::WORKFLOW_EXISTS,
                format!("version {} of {} is registered with another definition", ir.version, ir.name),
            ));
        }
        if !existing {
            if self.state.registry.versions >= limits.workflows_max {
                return Err(over("workflows_max", limits.workflows_max));
            }
            let tenant = self.state.symbols.find(&command.tenant).and_then(|sym| self.state.tenants.get(&sym));
            let held = tenant.map_or(0, Tenant::versions);
            if held >= limits.workflows_per_tenant_max {
                return Err(over("workflows_per_tenant_max", limits.workflows_per_tenant_max));
            }
            self.emit_registry(
                &command.tenant,
                &Event::WorkflowRegistered(WorkflowRegistered {
                    name: &ir.name,
                    version: &ir.version,
                    hash: Hash(ir.hash),
                    definition: Json(&ir.canonical),
                    ..WorkflowRegistered::default()
                }),
            );
        }
        let tag = command.tag.as_deref().or(is_new.then_some(MAIN));
        if let Some(tag) = tag {
            self.point(&command.tenant, &ir.name, tag, &ir.version, &[]);
        }
        let mut details = b"{\"name\":".to_vec();
        write_json_str(&ir.name, &mut details);
        details.extend_from_slice(b",\"version\":");
        write_json_str(&ir.version, &mut details);
        details.extend_from_slice(format!(",\"hash\":\"sha256:{}\"", hex(&ir.hash)).as_bytes());
        details.push(b'}');
        if self.programs.get(&ir.hash).is_none() {
            let hash = ir.hash;
            let program = self.programmed(ir);
            self.programs.put(hash, program, self.config.limits.programs_max);
        }
        Ok(Answer { existing, details, ..Answer::default() })
    }

    pub(crate) fn tag(&mut self, token: u64, command: &TagWorkflow) {
        let outcome = self.try_tag(command);
        self.reply(token, outcome);
    }

    fn try_tag(&mut self, command: &TagWorkflow) -> Result<Answer, Refusal> {
        self.check_name("tag", &command.tag)?;
        if command.tag.is_empty() {
            return Err(refusal(code::VALUE_INVALID, "a tag has a name"));
        }
        let not_there = || unknown(&command.name, &Selector::Version(command.version.clone()));
        let workflow = self.state.workflow(&command.tenant, &command.name);
        let version = self.state.symbols.find(&command.version);
        let (Some(workflow), Some(version)) = (workflow, version) else { return Err(not_there()) };
        let version = workflow.version(version).ok_or_else(not_there)?;
        let arms = self.check_arms(command, workflow, version)?;
        let previous = workflow.tags.get(command.tag.as_str()).map(|&sym| self.state.symbols.name(sym).to_string());
        if let Some(expected) = &command.expected_version
            && previous.as_ref() != Some(expected)
        {
            let now = previous.as_deref().unwrap_or("nothing");
            return Err(refusal(code::TAG_MOVED, format!("{} points at {now}, not at {expected}", command.tag)));
        }
        let existing = !self.point(&command.tenant, &command.name, &command.tag, &command.version, &arms);
        let mut details = b"{\"previous_version\":".to_vec();
        write_json_str(previous.as_deref().unwrap_or_default(), &mut details);
        details.push(b'}');
        Ok(Answer { existing, details, ..Answer::default() })
    }

    /// Points a tag at a version, with arms; `false`: it did already, with these. Other arms, or the same ones on another
    /// version, are another test.
    fn point(&mut self, tenant: &str, name: &str, tag: &str, version: &str, arms: &[Part]) -> bool {
        let workflow = self.state.workflow(tenant, name);
        let standing = workflow.and_then(|workflow| workflow.tags.get(tag)).copied();
        let trial = workflow.and_then(|workflow| workflow.trials.get(tag));
        let parts: Vec<Part> = trial.iter().flat_map(|trial| &trial.arms).map(Part::of).collect();
        if standing.is_some() && standing == self.state.symbols.find(version) && parts == arms {
            return false;
        }
        let test = if arms.is_empty() { 0 } else { self.state.registry.next_seq };
        self.emit_tag(tenant, name, tag, version, arms, test);
        true
    }

    /// Moves a tag, whose arms go on as the same test.
    pub(crate) fn move_tag(&mut self, tenant: &str, name: &str, tag: &str, version: &str) {
        let trial = self.state.workflow(tenant, name).and_then(|workflow| workflow.trials.get(tag));
        let test = trial.map_or(0, |trial| trial.number);
        let parts: Vec<Part> = trial.iter().flat_map(|trial| &trial.arms).map(Part::of).collect();
        self.emit_tag(tenant, name, tag, version, &parts, test);
    }

    fn emit_tag(&mut self, tenant: &str, name: &str, tag: &str, version: &str, arms: &[Part], test: u64) {
        let standing = self.state.workflow(tenant, name).and_then(|workflow| workflow.tags.get(tag));
        let previous = standing.map(|&sym| self.state.symbols.name(sym).clone());
        let previous_version = previous.as_deref().unwrap_or_default();
        let arms = arms.iter().map(Part::tagged).collect();
        let test = Amount(test as i64);
        self.emit_registry(
            tenant,
            &Event::WorkflowTagged(WorkflowTagged { name, tag, version, previous_version, arms, test }),
        );
    }

    /// The compiled form of a registered version.
    ///
    /// # Errors
    /// The first finding of a compiler that no longer takes it.
    pub(crate) fn program(&mut self, tenant: Sym, workflow: Sym, version: Sym) -> Result<Arc<Program>, String> {
        let registered = self.state.version(tenant, workflow, version).ok_or("its definition is not registered")?;
        let hash = registered.hash;
        if let Some(program) = self.programs.get(&hash) {
            return Ok(program);
        }
        let ir = apex_ir::compile(&registered.definition, None, &apex_ir::Limits::default())
            .map_err(|found| found.into_iter().next().map_or_else(String::new, |diagnostic| diagnostic.message))?;
        let program = self.programmed(ir);
        self.programs.put(hash, program.clone(), self.config.limits.programs_max);
        Ok(program)
    }

    /// The program of a run: that of its version, or what its patches make of it.
    ///
    /// # Errors
    /// Why there is none any more.
    pub(crate) fn program_of(&mut self, basis: &Basis) -> Result<Arc<Program>, String> {
        if basis.layers.is_empty() {
            return self.program(basis.tenant, basis.workflow, basis.version);
        }
        // By the hash that the log has: another version of the compiler may give another one.
        if let Some(program) = self.programs.get(&basis.ir_hash) {
            return Ok(program);
        }
        let program = self.overlay(basis)?;
        self.programs.put(basis.ir_hash, program.clone(), self.config.limits.programs_max);
        Ok(program)
    }

    /// What patches make of a registered version.
    pub(crate) fn overlay(&mut self, basis: &Basis) -> Result<Arc<Program>, String> {
        let base = self.program(basis.tenant, basis.workflow, basis.version)?;
        let layers: Result<Vec<_>, String> = basis.layers.iter().map(|layer| read_operations(layer)).collect();
        let layers = layers?;
        let ir = materialize(&base.ir, &layers, &apex_ir::Limits::default()).map_err(|refusal| refusal.reason())?;
        Ok(self.programmed(ir))
    }

    /// A definition of so many nodes was compiled: that counts towards the turn.
    pub(crate) fn note_compiled(&mut self, nodes: usize) {
        self.compiled = self.compiled.saturating_add((nodes as u32).saturating_mul(RECORDS_PER_NODE));
    }

    /// The program of what was just compiled.
    pub(crate) fn programmed(&mut self, ir: Ir) -> Arc<Program> {
        self.note_compiled(ir.nodes.len());
        Arc::new(Program::new(ir, &mut self.state.symbols))
    }

    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<(), Refusal> {
        let max = self.config.limits.name_bytes_max;
        if name.len() > max {
            return Err(refusal(code::LIMIT_EXCEEDED, format!("{what} is longer than name_bytes_max ({max} bytes)")));
        }
        Ok(())
    }
}

/// What the program of a run is made of.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    pub(crate) tenant: Sym,
    pub(crate) workflow: Sym,
    pub(crate) version: Sym,
    /// Of the program.
    pub(crate) ir_hash: [u8; 32],
    /// Patches in force.
    pub(crate) layers: Vec<Logged>,
}

impl Run {
    /// What its program is made of.
    pub(crate) fn basis(&self) -> Basis {
        let Run { tenant, workflow, version, ir_hash, .. } = *self;
        let layers = self.layers().iter().filter(|layer| layer.dropped == 0);
        Basis { tenant, workflow, version, ir_hash, layers: layers.map(|layer| layer.operations.clone()).collect() }
    }
}

impl State {
    /// A workflow of a tenant.
    pub(crate) fn workflow(&self, tenant: &str, name: &str) -> Option<&Workflow> {
        self.tenants.get(&self.symbols.find(tenant)?)?.workflows.get(&self.symbols.find(name)?)
    }

    /// The version that a selector names.
    pub(crate) fn select(&self, tenant: &str, name: &str, selector: &Selector) -> Option<&Version> {
        let workflow = self.workflow(tenant, name)?;
        let version = match selector {
            Selector::Version(version) => self.symbols.find(version)?,
            Selector::Tag(tag) => *workflow.tags.get(tag.as_str())?,
            Selector::Latest => match workflow.tags.get(MAIN) {
                Some(&version) => version,
                None => return workflow.versions.last(),
            },
        };
        workflow.versions.iter().find(|v| v.version == version)
    }
}

/// No such workflow.
pub(crate) fn unknown(name: &str, selector: &Selector) -> Refusal {
    let which = match selector {
        Selector::Version(version) => format!("version {version} of workflow {name}"),
        Selector::Tag(tag) => format!("tag {tag} of workflow {name}"),
        Selector::Latest => format!("workflow {name}"),
    };
    refusal(code::WORKFLOW_NOT_FOUND, format!("there is no {which}"))
}

/// Over a limit.
pub(crate) fn over(limit: &str, max: impl std::fmt::Display) -> Refusal {
    refusal(code::LIMIT_EXCEEDED, format!("over {limit} ({max})"))
}

pub(crate) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
