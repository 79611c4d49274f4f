//! Entities and phrasings of goals.

use std::sync::{Arc, PoisonError, RwLock};

use apex_recall::{Tier, char_offset};
use pyo3::prelude::*;

use crate::errors;

/// An entity of a text; offsets in characters: `text == goal[start:end]`.
#[pyclass(frozen, get_all, module = "apex_fast.core._core")]
pub(crate) struct Entity {
    kind: &'static str,
    text: String,
    start: usize,
    end: usize,
}

#[pymethods]
impl Entity {
    fn __repr__(&self) -> String {
        format!("Entity({} {:?} {}:{})", self.kind, self.text, self.start, self.end)
    }
}

fn entities(goal: &str, reading: &apex_recall::Reading<'_>) -> Vec<Entity> {
    let at = |offset| if goal.is_ascii() { offset } else { char_offset(goal, offset) };
    let entity = |one: apex_recall::Entity| Entity {
        kind: one.kind.name(),
        text: one.text,
        start: at(one.start),
        end: at(one.end),
    };
    reading.entities().into_iter().map(entity).collect()
}

/// The vocabulary and lists of names; built once (about 15 ms), shared.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Recognizer(Arc<apex_recall::Recognizer>);

#[pymethods]
impl Recognizer {
    #[new]
    fn new(py: Python<'_>) -> Self {
        Self(Arc::new(py.detach(apex_recall::Recognizer::new)))
    }
    fn extract(&self, text: &str) -> Vec<Entity> {
        entities(text, &self.0.read(text))
    }
    fn template(&self, text: &str) -> String {
        self.0.read(text).template()
    }
}

/// The phrasing that a goal fits: the number of its template, the tier, the slots with their text in the order of
/// the goal, and the entities of the goal.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct PlanMatch {
    template: u32,
    tier: Tier,
    slots: Vec<(String, String)>,
    entities: Vec<Py<Entity>>,
}

#[pymethods]
impl PlanMatch {
    #[getter]
    fn template(&self) -> u32 {
        self.template
    }
    #[getter]
    fn tier(&self) -> &'static str {
        match self.tier {
            Tier::Template => "template",
            Tier::Words => "words",
        }
    }
    #[getter]
    fn slots(&self) -> Vec<(String, String)> {
        self.slots.clone()
    }
    #[getter]
    fn entities(&self, py: Python<'_>) -> Vec<Py<Entity>> {
        self.entities.iter().map(|one| one.clone_ref(py)).collect()
    }
}

/// The phrasings of all plan templates. `add` and `find` may be called from any thread.
#[pyclass(frozen, module = "apex_fast.core._core")]
pub(crate) struct Catalogue {
    recognizer: Arc<apex_recall::Recognizer>,
    phrasings: RwLock<apex_recall::Catalogue>,
}

#[pymethods]
impl Catalogue {
    #[new]
    fn new(recognizer: &Recognizer) -> Self {
        Self { recognizer: recognizer.0.clone(), phrasings: RwLock::new(apex_recall::Catalogue::new()) }
    }
    /// All or none; the number of those that are new to the template.
    fn add(&self, template: u32, phrasings: Vec<String>) -> PyResult<usize> {
        let all: Vec<&str> = phrasings.iter().map(String::as_str).collect();
        let mut catalogue = self.phrasings.write().unwrap_or_else(PoisonError::into_inner);
        catalogue.add(&self.recognizer, template, &all).map_err(|(place, error)| {
            errors::core("PHRASING_INVALID", &format!("phrasing {place}, {:?}: {error}", all[place]))
        })
    }
    fn find(&self, py: Python<'_>, goal: &str) -> PyResult<Option<PlanMatch>> {
        let reading = self.recognizer.read(goal);
        let phrasings = self.phrasings.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = phrasings.find(&self.recognizer, &reading) else { return Ok(None) };
        let slots = found.slots.into_iter().map(|slot| (slot.name, goal[slot.start..slot.end].to_owned())).collect();
        let entities = entities(goal, &reading).into_iter().map(|one| Py::new(py, one)).collect::<PyResult<_>>()?;
        Ok(Some(PlanMatch { template: found.template, tier: found.tier, slots, entities }))
    }
    fn __len__(&self) -> usize {
        self.phrasings.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Adds the classes of this file to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Entity>()?;
    module.add_class::<Recognizer>()?;
    module.add_class::<PlanMatch>()?;
    module.add_class::<Catalogue>()
}
