//! Patches of runs: what authors may, and the commands, as frozen classes.

use crate::commands::parse_run_id;
use crate::definition::function_table;
use crate::errors;
use apex_ir::overlay::{Allowed, Grant};
use apex_machine::command;
use pyo3::prelude::*;
use std::sync::Arc;

/// What one kind of author may.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct PatchRule(pub(crate) command::PatchRule);

#[pymethods]
impl PatchRule {
    #[new]
    #[pyo3(signature = (policy = "apply", reaches_any = false, hosts = vec![], functions = vec![], workflows = vec![],
        models = vec![]))]
    fn new(
        policy: &str,
        reaches_any: bool,
        hosts: Vec<String>,
        functions: Vec<String>,
        workflows: Vec<String>,
        models: Vec<String>,
    ) -> PyResult<Self> {
        let policy = command::PatchPolicy::parse(policy)
            .ok_or_else(|| errors::core("BAD_VALUE", &format!("{policy:?} is none of apply, approve, refuse")))?;
        let only = |names: Vec<String>| Allowed::Only(names.into_iter().collect());
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        let grant = match reaches_any {
            true => Grant::all(),
            false => Grant {
                hosts: only(hosts),
                functions: only(functions),
                workflows: only(workflows),
                models: only(models),
                ..Grant::default()
            },
        };
        Ok(Self(command::PatchRule { policy, grant }))
    }
    #[getter]
    fn policy(&self) -> &'static str {
        self.0.policy.as_str()
    }
}

/// What authors may, by their kind.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct PatchRules(pub(crate) Arc<command::PatchRules>);

#[pymethods]
impl PatchRules {
    #[new]
    #[pyo3(signature = (client, agent, optimizer, functions = None))]
    fn new(
        client: &Bound<'_, PatchRule>,
        agent: &Bound<'_, PatchRule>,
        optimizer: &Bound<'_, PatchRule>,
        functions: Option<&[u8]>,
    ) -> PyResult<Self> {
        let rule = |rule: &Bound<'_, PatchRule>| rule.get().0.clone();
        Ok(Self(Arc::new(command::PatchRules {
            client: rule(client),
            agent: rule(agent),
            optimizer: rule(optimizer),
            functions: functions.map(function_table).transpose()?.map(Arc::new),
        })))
    }
    #[getter]
    fn client(&self) -> PatchRule {
        PatchRule(self.0.client.clone())
    }
    #[getter]
    fn optimizer(&self) -> PatchRule {
        PatchRule(self.0.optimizer.clone())
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ApplyPatch(pub(crate) command::ApplyPatch);

#[pymethods]
impl ApplyPatch {
    #[new]
    #[pyo3(signature = (tenant, run_id, operations, rules, reason = "", author = "client", base_epoch = None,
        idempotency_key = "", exact = false))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        tenant: String,
        run_id: &str,
        operations: Vec<u8>,
        rules: &Bound<'_, PatchRules>,
        reason: &str,
        author: &str,
        base_epoch: Option<u32>,
        idempotency_key: &str,
        exact: bool,
    ) -> PyResult<Self> {
        Ok(Self(command::ApplyPatch {
            tenant,
            run_id: parse_run_id(run_id)?,
            operations,
            reason: reason.to_owned(),
            author: author.to_owned(),
            base_epoch,
            exact,
            idempotency_key: idempotency_key.to_owned(),
            rules: rules.get().0.clone(),
        }))
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct ApprovePatch(pub(crate) command::ApprovePatch);

#[pymethods]
impl ApprovePatch {
    #[new]
    #[pyo3(signature = (tenant, patch_id, approve, rules, reason = "", by = ""))]
    fn new(
        tenant: String,
        patch_id: String,
        approve: bool,
        rules: &Bound<'_, PatchRules>,
        reason: &str,
        by: &str,
    ) -> Self {
        let (reason, by, rules) = (reason.to_owned(), by.to_owned(), rules.get().0.clone());
        Self(command::ApprovePatch { tenant, patch_id, approve, reason, by, rules })
    }
}

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct RollbackPatch(pub(crate) command::RollbackPatch);

#[pymethods]
impl RollbackPatch {
    #[new]
    #[pyo3(signature = (tenant, patch_id, rules, reason = "", by = ""))]
    fn new(tenant: String, patch_id: String, rules: &Bound<'_, PatchRules>, reason: &str, by: &str) -> Self {
        let (reason, by, rules) = (reason.to_owned(), by.to_owned(), rules.get().0.clone());
        Self(command::RollbackPatch { tenant, patch_id, reason, by, rules })
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PatchRule>()?;
    module.add_class::<PatchRules>()?;
    module.add_class::<ApplyPatch>()?;
    module.add_class::<ApprovePatch>()?;
    module.add_class::<RollbackPatch>()?;
    Ok(())
}
