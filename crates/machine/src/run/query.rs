//! A question about a run: an expression over what the run holds in memory. It changes nothing and records nothing.

use crate::action::Refusal;
use crate::error::code;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::turn::refusal;
use crate::run::pause::unknown_run;
use crate::run::scope::View;
use crate::state::run::{ROOT, Run, Status};
use crate::view::{QueryAnswer, RunView};
use apex_ir::expressions::Expression;

/// Nodes that the question `nodes` names at most.
const NODES_SHOWN_MAX: usize = 10_000;

impl Machine {
    /// Answers a question about a run of this tenant: `state`, `progress` or `nodes`, else an expression (CEL) over
    /// `inputs`, `nodes` and `run`. An expression sees what the run keeps of outputs: what its own expressions read, and
    /// what stands in its output. An ended run answers `state` and `progress` only.
    ///
    /// # Errors
    /// An unknown or ended run, a text that is no expression, one that fails, and one over its limits.
    pub fn query(&mut self, tenant: &str, run_id: &RunId, expression: &str) -> Result<QueryAnswer, Refusal> {
        let view = self.run(tenant, run_id).ok_or_else(|| unknown_run(run_id))?;
        let (offset, epoch) = (view.offset, view.epoch);
        let mut json = Vec::new();
        match expression {
            "state" => write_json_str(view.state.as_str(), &mut json),
            "progress" => write_progress(&view, &mut json),
            _ => {
                let slot = self.open_run(tenant, run_id)?;
                let run = self.state.run(slot).ok_or_else(|| unknown_run(run_id))?;
                if expression == "nodes" {
                    self.write_nodes(run, &mut json);
                } else {
                    let basis = run.basis();
                    let program = self.program_of(&basis).map_err(|reason| {
                        refusal(code::DEFINITION_UNREADABLE, format!("the definition no longer compiles: {reason}"))
                    })?;
                    json = self.evaluate(slot, &program, expression)?;
                }
            }
        }
        Ok(QueryAnswer { json, offset, epoch })
    }

    fn evaluate(&self, slot: u32, program: &Program, text: &str) -> Result<Vec<u8>, Refusal> {
        let no_expression = |message: String| refusal(code::EXPRESSION_INVALID, message);
        let limits = apex_ir::Limits::default().expression;
        let expression = Expression::compile(text, &limits).map_err(|found| {
            let hint = found.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            no_expression(format!("{} (byte {}){hint}", found.message, found.offset))
        })?;
        // What stands in a body has many instances, and no name here.
        let is_known = |id: &&str| program.ir.node(id).is_some_and(|ix| program.ir.nodes[ix as usize].graph == 0);
        if let Some(id) = expression.nodes().find(|id| !is_known(id)) {
            return Err(no_expression(format!("there is no node {id:?} in the graph of the workflow")));
        }
        let Some(run) = self.state.run(slot) else { return Err(no_expression("the run has ended".into())) };
        let value = expression.evaluate(&View::new(run, program, ROOT), &mut self.budget());
        let failed = |message: String| refusal(code::EXPRESSION_FAILED, message);
        let value = value.map_err(|error| failed(error.message))?;
        if !value.is_json() {
            return Err(failed(format!("it gives {}, which is no JSON value", value.type_name())));
        }
        let mut json = Vec::new();
        value.write(&mut json);
        let max = self.config.limits.rendered_bytes_max;
        if json.len() > max {
            return Err(failed(format!("it yields {} bytes, over rendered_bytes_max ({max})", json.len())));
        }
        Ok(json)
    }

    /// Instance path to status of the nodes that have begun: `running` for one that is not decided.
    fn write_nodes(&self, run: &Run, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        let nodes = run.scopes.iter().enumerate().flat_map(|(scope_ix, scope)| {
            scope.iter().flat_map(|scope| &scope.nodes).map(move |node| (scope_ix as u32, node))
        });
        for (scope, node) in nodes.take(NODES_SHOWN_MAX) {
            if out.len() > start {
                out.push(b',');
            }
            write_json_str(&run.path(scope, self.state.symbols.name(node.sym)), out);
            out.push(b':');
            let status = if node.status == Status::Open { "running" } else { node.status.as_str().unwrap_or_default() };
            write_json_str(status, out);
        }
        out.push(b'}');
    }
}

fn write_progress(view: &RunView, out: &mut Vec<u8>) {
    out.extend_from_slice(
        format!("{{\"nodes_done\":{},\"nodes_total\":{},\"active\":[", view.nodes_done, view.nodes_total).as_bytes(),
    );
    for (n, path) in view.phase.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_json_str(path, out);
    }
    out.extend_from_slice(b"]}");
}
