//! Large values beside the log.

use crate::errors;
use apex_log::{Address, LogError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::BTreeMap;

#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Blobs(pub(crate) apex_log::Blobs);

#[pymethods]
impl Blobs {
    /// Address, bytes, and whether it was there before; durable on return.
    #[pyo3(signature = (tenant, content, expected = None))]
    fn put(
        &self,
        py: Python<'_>,
        tenant: &str,
        content: &[u8],
        expected: Option<&str>,
    ) -> PyResult<(String, u64, bool)> {
        let put = || {
            let expected = expected.map(address_of).transpose()?;
            let mut upload = self.0.begin(tenant)?;
            upload.write(content)?;
            upload.finish(expected)
        };
        let stored = py.detach(put).map_err(|e| errors::log(&e))?;
        Ok((stored.address.to_string(), stored.bytes, stored.existing))
    }
    /// The whole content, which is what its address says.
    fn get<'py>(&self, py: Python<'py>, tenant: &str, address: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(address) = Address::parse(address) else { return Ok(None) };
        let get = || self.0.get(tenant, address)?.map(|blob| blob.read_whole()).transpose();
        let content = py.detach(get).map_err(|e| errors::log(&e))?;
        Ok(content.map(|content| PyBytes::new(py, &content)))
    }
    fn size(&self, py: Python<'_>, tenant: &str, address: &str) -> PyResult<Option<u64>> {
        let Some(address) = Address::parse(address) else { return Ok(None) };
        let size = || Ok(self.0.get(tenant, address)?.map(|blob| blob.bytes()));
        py.detach(size).map_err(|e| errors::log(&e))
    }
    fn used(&self, tenant: &str) -> u64 {
        self.0.used(tenant)
    }
    fn stats(&self) -> BTreeMap<&'static str, u64> {
        let (count, bytes) = self.0.totals();
        BTreeMap::from([("count", count), ("bytes", bytes)])
    }
}

fn address_of(text: &str) -> Result<Address, LogError> {
    Address::parse(text)
        .ok_or_else(|| LogError::Invalid("an address is sha256: and 64 lower-case hexadecimal digits".into()))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Blobs>()
}
