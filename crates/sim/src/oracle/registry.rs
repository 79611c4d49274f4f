//! Versions of workflows, and the tags that point at them.

use super::definition::Graph;
use super::judge::Happening;
use crate::wrong::{Wrong, check};
use apex_machine::command::Selector;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A version of a workflow.
pub(crate) struct Version {
    pub(crate) version: String,
    pub(crate) document: Rc<Value>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Registry {
    versions: BTreeMap<String, Vec<Version>>,
    tags: BTreeMap<(String, String), String>,
    /// Arms of tags, and the numbers of their tests.
    tests: BTreeMap<(String, String), (Vec<Value>, u64)>,
}

impl Registry {
    /// Gives the graph of what was registered.
    pub(crate) fn registered(&mut self, h: &Happening) -> Result<Graph, Wrong> {
        let version = h.text("version").to_owned();
        let versions = self.versions.entry(h.text("name").into()).or_default();
        check!(versions.iter().all(|other| other.version != version), "version {version} is there already");
        let document = Rc::new(h.payload["definition"].clone());
        let graph = Graph::of(&document);
        versions.push(Version { version, document });
        Ok(graph)
    }

    pub(crate) fn tagged(&mut self, h: &Happening) -> Result<(), Wrong> {
        let (name, version) = (h.text("name").to_owned(), h.text("version").to_owned());
        let is_there = self.version(&name, &version).is_some();
        check!(is_there, "a tag of version {version}, which is not there");
        let (key, arms) = ((name, h.text("tag").to_owned()), h.payload["arms"].as_array().cloned().unwrap_or_default());
        if arms.is_empty() {
            self.tests.remove(&key);
        } else {
            self.tests.insert(key.clone(), (arms, h.number("test")));
        }
        let before = self.tags.insert(key, version).unwrap_or_default();
        check!(before == h.text("previous_version"), "it pointed at {before}");
        Ok(())
    }

    /// Where a tag points.
    pub(crate) fn tag(&self, name: &str, tag: &str) -> Option<&str> {
        self.tags.get(&(name.to_owned(), tag.to_owned())).map(String::as_str)
    }

    /// Tags that point at a version.
    pub(crate) fn tags_at(&self, name: &str, version: &str) -> impl Iterator<Item = String> {
        let tags = self.tags.iter().filter(move |((of, _), at)| of == name && *at == version);
        tags.map(|((_, tag), _)| tag.clone())
    }

    /// All versions of a workflow.
    pub(crate) fn versions(&self, name: &str) -> Vec<&str> {
        self.versions.get(name).into_iter().flatten().map(|version| version.version.as_str()).collect()
    }

    /// The arms of the tag that a selector names, with the tag and the number of the test.
    pub(crate) fn test(&self, name: &str, selector: &Selector) -> Option<(&str, &[Value], u64)> {
        let tag = match selector {
            Selector::Version(_) => return None,
            Selector::Tag(tag) => tag,
            Selector::Latest => "main",
        };
        let ((_, tag), (arms, test)) = self.tests.get_key_value(&(name.to_owned(), tag.to_owned()))?;
        Some((tag, arms, *test))
    }

    pub(crate) fn version(&self, name: &str, version: &str) -> Option<&Version> {
        self.versions.get(name)?.iter().find(|known| known.version == version)
    }

    /// The version that a selector names now.
    pub(crate) fn select(&self, name: &str, selector: &Selector) -> Option<&Version> {
        let tagged = |tag: &str| self.tags.get(&(name.to_owned(), tag.to_owned()));
        match selector {
            Selector::Version(version) => self.version(name, version),
            Selector::Tag(tag) => self.version(name, tagged(tag)?),
            Selector::Latest => match tagged("main") {
                Some(version) => self.version(name, version),
                None => self.versions.get(name)?.last(),
            },
        }
    }
}
