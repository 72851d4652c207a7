//! Finding what a reference within a schema names.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::translate::read::{self, Fields, Kind, Wrong};

/// The most steps of a reference.
const STEPS_MAX: usize = 16;

/// The places of one schema, read as far as references have led.
#[derive(Debug)]
pub(super) struct Refs<'a> {
    root: &'a RawValue,
    /// The members of what references have led through, by the way there. Kept, since a schema
    /// mostly refers to one place of many definitions again and again.
    known: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
}

impl<'a> Refs<'a> {
    pub(super) const fn new(root: &'a RawValue) -> Self {
        Self { root, known: BTreeMap::new() }
    }

    /// What `#/a/b` names: the member `b` of the member `a`, of an array the element.
    pub(super) fn resolve(&mut self, reference: &str) -> Result<&'a RawValue, Wrong> {
        let unknown = || Wrong::new("must name a place within the schema");
        let path = reference.strip_prefix('#').ok_or_else(unknown)?;
        let mut steps = path.split('/');
        if steps.next() != Some("") || steps.clone().count() > STEPS_MAX {
            return Err(unknown());
        }
        let (mut way, mut at) = (String::new(), self.root);
        for step in steps {
            let members = self.known.entry(way.clone()).or_insert_with(|| members(at));
            at = members.get(&step.replace("~1", "/").replace("~0", "~")).ok_or_else(unknown)?;
            way = format!("{way}/{step}");
        }
        Ok(at)
    }
}

fn members(raw: &RawValue) -> BTreeMap<String, &RawValue> {
    match read::kind(raw) {
        Kind::Object => Fields::read(raw)
            .map(|fields| fields.iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        Kind::List => read::list(raw)
            .map(|list| list.into_iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect()),
        Kind::Text | Kind::Number | Kind::Word => Ok(BTreeMap::new()),
    }
    .unwrap_or_default()
}
