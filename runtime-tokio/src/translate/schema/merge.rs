//! Putting schemas together: both hold, one of several holds, and what is left when only some
//! keywords may stand beside each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Budget;
use crate::translate::gemini::{Properties, Schema, Type};
use crate::translate::read::Wrong;

/// What holds when both do; the words of `a` come first.
pub(super) fn merged<'a>(a: Schema<'a>, b: Schema<'a>) -> Schema<'a> {
    let both = |a: Vec<Cow<'a, str>>, b: Vec<Cow<'a, str>>| match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        (false, false) => {
            let b: BTreeSet<Cow<'a, str>> = b.into_iter().collect();
            a.into_iter().filter(|choice| b.contains(choice)).collect()
        }
    };
    let mut seen = BTreeSet::new();
    let required = a.required.into_iter().chain(b.required);
    Schema {
        kind: a.kind.or(b.kind),
        title: a.title.or(b.title),
        description: a.description.or(b.description),
        format: a.format.or(b.format),
        nullable: a.nullable || b.nullable,
        choices: both(a.choices, b.choices),
        properties: match (a.properties, b.properties) {
            (Some(a), Some(b)) => Some(joined(a, b)),
            (a, b) => a.or(b),
        },
        required: required.filter(|name| seen.insert(name.clone())).collect(),
        items: a.items.or(b.items),
        any_of: if a.any_of.is_empty() { b.any_of } else { a.any_of },
    }
}

/// The properties of both; one that both have is what holds when both do.
fn joined<'a>(a: Properties<'a>, b: Properties<'a>) -> Properties<'a> {
    let Properties(mut all) = a;
    let places: BTreeMap<Cow<'a, str>, usize> =
        all.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
    for (name, schema) in b.0 {
        match places.get(&name) {
            Some(&i) => all[i].1 = merged(std::mem::take(&mut all[i].1), schema),
            None => all.push((name, schema)),
        }
    }
    Properties(all)
}

/// An object that each of these is: all their properties, of which only those are required that
/// each of them requires.
pub(super) fn united<'a>(
    variants: Vec<Schema<'a>>,
    budget: &mut Budget,
) -> Result<Schema<'a>, Wrong> {
    let mut variants = variants.into_iter().filter(|v| v.properties.is_some());
    let Some(mut all) = variants.next() else { return Ok(Schema::default()) };
    for variant in variants {
        budget.spend(weight(&all))?;
        let common: BTreeSet<_> = variant.required.iter().cloned().collect();
        let mut required = std::mem::take(&mut all.required);
        required.retain(|name| common.contains(name));
        all = Schema { required, ..merged(all, Schema { required: Vec::new(), ..variant }) };
    }
    Ok(all)
}

/// The schema as it may be sent: a union stands alone, and every keyword beside a type that it
/// belongs to.
pub(super) fn finished<'a>(
    mut schema: Schema<'a>,
    budget: &mut Budget,
) -> Result<Schema<'a>, Wrong> {
    let mut variants = std::mem::take(&mut schema.any_of);
    match variants.len() {
        0 => return Ok(fitted(schema)),
        1 => return finished(merged(schema, variants.remove(0)), budget),
        _ => budget.spend(weight(&schema).saturating_mul(variants.len()))?,
    }
    let mut any_of = Vec::new();
    for variant in variants {
        let variant = finished(merged(variant, schema.clone()), budget)?;
        if variant.any_of.is_empty() {
            any_of.push(variant);
        } else {
            any_of.extend(variant.any_of);
        }
    }
    Ok(Schema { any_of, ..Schema::default() })
}

/// The schema, which is no union, with the keywords of its type alone.
fn fitted(mut schema: Schema<'_>) -> Schema<'_> {
    schema.kind = schema.kind.or_else(|| implied_type(&schema));
    if schema.kind != Some(Type::String) {
        schema.choices.clear();
        schema.format = None;
    }
    match schema.kind {
        Some(Type::Object) => {
            let properties = schema.properties.take().filter(|all| !all.0.is_empty());
            let names: BTreeSet<&str> =
                properties.iter().flat_map(|all| &all.0).map(|(name, _)| &**name).collect();
            schema.required.retain(|name| names.contains(&**name));
            schema.properties = properties;
            schema.items = None;
        }
        Some(Type::Array) => {
            // An array must say something of its elements.
            schema.items.get_or_insert_default();
            (schema.properties, schema.required) = (None, Vec::new());
        }
        Some(Type::String | Type::Integer | Type::Number | Type::Boolean) | None => {
            (schema.properties, schema.required, schema.items) = (None, Vec::new(), None);
        }
    }
    schema
}

/// The type of a schema that names none.
fn implied_type(schema: &Schema<'_>) -> Option<Type> {
    if schema.properties.is_some() {
        Some(Type::Object)
    } else if schema.items.is_some() {
        Some(Type::Array)
    } else {
        (!schema.choices.is_empty()).then_some(Type::String)
    }
}

/// About how much text a schema is.
pub(super) fn weight(schema: &Schema<'_>) -> usize {
    let texts = [&schema.title, &schema.description].into_iter().flatten();
    let texts = texts.chain(&schema.choices).chain(&schema.required);
    let properties = schema.properties.iter().flat_map(|all| &all.0);
    let properties = properties.map(|(name, property)| name.len() + weight(property));
    let within = schema.items.iter().map(|items| weight(items));
    let variants = schema.any_of.iter().map(weight);
    1 + texts.map(|text| text.len()).sum::<usize>()
        + properties.chain(within).chain(variants).sum::<usize>()
}
