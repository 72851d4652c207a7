//! JSON Schema, as clients write it for their tools, in the keywords that Gemini takes.
//!
//! A keyword is one only where a schema stands: a parameter may be called `pattern`. What cannot be
//! said is loosened, never tightened, so that no call that the client allows is forbidden; values
//! that a list of choices cannot hold are told in the description.

mod merge;
mod refs;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::value::RawValue;

use self::merge::{finished, merged, weight};
use self::refs::Refs;
use super::gemini::{Properties, Schema, Type};
use super::read::{self, Fields, Kind, Locate, Wrong};

/// How deep schemas may stand in each other, references followed.
const SCHEMA_DEPTH_MAX: usize = 32;
/// How much text of schemas is read for one request, that of a reference as often as it is used.
pub(super) const SCHEMA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much may still be read.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(SCHEMA_BYTES_MAX)
    }
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), Wrong> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or_else(|| Wrong::new("is too large once its references are followed"))?;
        Ok(())
    }
}

/// What a function takes: always an object, as that is all a function can take.
pub(super) fn parameters<'a>(
    raw: Option<&'a RawValue>,
    budget: &mut Budget,
) -> Result<Schema<'a>, Wrong> {
    let mut schema = Schema::default();
    if let Some(raw) = raw {
        let mut reader = Reader { refs: Refs::new(raw), following: Vec::new(), budget };
        schema = reader.finished(raw, 0)?;
    }
    let variants = std::mem::take(&mut schema.any_of);
    if !variants.is_empty() {
        schema = merge::united(variants, budget)?;
    }
    let Schema { title, description, properties, required, .. } = schema;
    let (kind, properties) = (Some(Type::Object), Some(properties.unwrap_or_default()));
    Ok(Schema { kind, title, description, properties, required, ..Schema::default() })
}

struct Reader<'a, 'b> {
    refs: Refs<'a>,
    /// The references on the way to here.
    following: Vec<Cow<'a, str>>,
    budget: &'b mut Budget,
}

impl<'a> Reader<'a, '_> {
    /// A schema as it may be sent.
    fn finished(&mut self, raw: &'a RawValue, depth: usize) -> Result<Schema<'a>, Wrong> {
        let schema = self.schema(raw, depth)?.unwrap_or_else(null);
        finished(schema, self.budget)
    }

    /// What a schema means; `None` if `null` is all it allows. It is not finished: what it requires
    /// may be declared by another that holds besides.
    fn schema(&mut self, raw: &'a RawValue, depth: usize) -> Result<Option<Schema<'a>>, Wrong> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(Wrong::new("is nested too deeply"));
        }
        let fields = match read::kind(raw) {
            Kind::Object => Fields::read(raw)?,
            // What `false` forbids cannot be said.
            Kind::Word => return Ok(Some(Schema::default())),
            Kind::List | Kind::Text | Kind::Number => {
                return Err(Wrong::new("must be a schema"));
            }
        };
        self.budget.spend(text_read(&fields, depth == 0))?;
        let Some(mut schema) = own(&fields)? else { return Ok(None) };
        self.structure(&fields, &mut schema, depth + 1)?;
        if let Some(target) = fields.text("$ref")? {
            let target = self.reference(target, depth + 1).at("$ref")?;
            let Some(target) = target else { return Ok(None) };
            schema = merged(schema, target);
        }
        // Every merge is paid for: many small parts make one that is looked through again and
        // again.
        for (i, part) in fields.list("allOf")?.unwrap_or_default().into_iter().enumerate() {
            let part = self.schema(part, depth + 1).at(i).at("allOf")?;
            let Some(part) = part else { return Ok(None) };
            self.budget.spend(weight(&schema))?;
            schema = merged(schema, part);
        }
        for keyword in ["anyOf", "oneOf"] {
            self.union(&fields, keyword, &mut schema, depth + 1)?;
        }
        Ok(Some(schema))
    }

    /// The schemas that stand within one: of properties and of elements.
    fn structure(
        &mut self,
        fields: &Fields<'a>,
        schema: &mut Schema<'a>,
        depth: usize,
    ) -> Result<(), Wrong> {
        if let Some(declared) = fields.fields("properties")? {
            let mut properties = Vec::new();
            for (name, raw) in declared.members() {
                let property = self.finished(raw, depth).at(&name).at("properties")?;
                properties.push((name, property));
            }
            schema.properties = Some(Properties(properties));
        }
        if let Some(names) = fields.list("required")? {
            let names = names.into_iter().map(read::text).collect::<Result<Vec<_>, _>>();
            schema.required = names.at("required")?;
        }
        // A list of schemas, one for each place, is a union of them: places cannot be told apart.
        let tuple = ["prefixItems", "items"]
            .into_iter()
            .find(|name| fields.get(name).is_some_and(|raw| read::kind(raw) == Kind::List));
        if let Some(name) = tuple {
            let mut items = Schema::default();
            self.union(fields, name, &mut items, depth)?;
            schema.items = Some(Box::new(finished(items, self.budget)?));
        } else if let Some(raw) = fields.get("items") {
            schema.items = Some(Box::new(self.finished(raw, depth).at("items")?));
        }
        Ok(())
    }

    /// The alternatives under a keyword, added to those that are there; `null` among them makes the
    /// schema nullable instead.
    fn union(
        &mut self,
        fields: &Fields<'a>,
        keyword: &str,
        schema: &mut Schema<'a>,
        depth: usize,
    ) -> Result<(), Wrong> {
        // Of two unions that both hold, only one can be said.
        let known = !schema.any_of.is_empty();
        for (i, raw) in fields.list(keyword)?.unwrap_or_default().into_iter().enumerate() {
            match self.schema(raw, depth).at(i).at(keyword)? {
                None => schema.nullable = true,
                Some(variant) if !known => schema.any_of.push(variant),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What a reference means. One that leads to itself is cut short there: any value of its type.
    fn reference(
        &mut self,
        target: Cow<'a, str>,
        depth: usize,
    ) -> Result<Option<Schema<'a>>, Wrong> {
        let raw = self.refs.resolve(&target)?;
        if self.following.contains(&target) {
            let fields = Fields::read(raw)?;
            return own(&fields);
        }
        self.following.push(target);
        let schema = self.schema(raw, depth);
        self.following.pop();
        schema
    }
}

/// How much text of a schema is read for itself and not for those within it.
fn text_read(fields: &Fields<'_>, is_root: bool) -> usize {
    let read = |(name, value): (&str, &RawValue)| match name {
        "properties" | "items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" => name.len(),
        "$defs" | "definitions" if is_root => name.len(),
        _ => name.len() + value.get().len(),
    };
    1 + fields.iter().map(read).sum::<usize>()
}

/// What stands for a schema that allows `null` alone, which has no type.
fn null<'a>() -> Schema<'a> {
    Schema { kind: Some(Type::String), nullable: true, ..Schema::default() }
}

/// What a schema says itself; `None` if `null` is all it allows.
fn own<'a>(fields: &Fields<'a>) -> Result<Option<Schema<'a>>, Wrong> {
    let (types, null) = types(fields)?;
    if null && types.is_empty() {
        return Ok(None);
    }
    let format = fields.text("format").unwrap_or_default();
    let mut schema = Schema {
        title: fields.text("title").unwrap_or_default(),
        description: fields.text("description").unwrap_or_default(),
        format: format.is_some_and(|format| format == "date-time").then_some("date-time"),
        nullable: null || fields.is_true("nullable").unwrap_or_default(),
        ..Schema::default()
    };
    match types[..] {
        [] => {}
        [kind] => schema.kind = Some(kind),
        _ => {
            let variant = |kind| Schema { kind: Some(kind), ..Schema::default() };
            schema.any_of = types.into_iter().map(variant).collect();
        }
    }
    let values = match fields.get("enum") {
        Some(raw) => read::list(raw).at("enum")?,
        None => fields.iter().filter(|(name, _)| *name == "const").map(|(_, raw)| raw).collect(),
    };
    Ok(choices(schema, &values))
}

/// The types that a schema names, and whether `null` is among them. A type that is not known says
/// nothing.
fn types(fields: &Fields<'_>) -> Result<(Vec<Type>, bool), Wrong> {
    let names = match fields.get("type") {
        None => Vec::new(),
        Some(raw) if read::kind(raw) == Kind::List => read::list(raw)?,
        Some(raw) => vec![raw],
    };
    let (mut types, mut null) = (Vec::new(), false);
    for name in names {
        let name = read::text(name).at("type")?;
        let kind = match &*name.to_ascii_lowercase() {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            "null" => {
                null = true;
                continue;
            }
            _ => continue,
        };
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    Ok((types, null))
}

/// The schema with these values as all that it allows; `None` if that is `null` alone.
fn choices<'a>(mut schema: Schema<'a>, values: &[&'a RawValue]) -> Option<Schema<'a>> {
    let values: BTreeSet<&str> = values.iter().map(|raw| raw.get()).collect();
    if values.is_empty() {
        return Some(schema);
    }
    schema.nullable |= values.contains("null");
    let others: Vec<&str> = values.into_iter().filter(|value| *value != "null").collect();
    if others.is_empty() {
        return None;
    }
    if schema.kind.is_none() && schema.any_of.is_empty() {
        schema.kind = common_type(&others);
    }
    if schema.kind == Some(Type::String) {
        let texts = others.iter().filter_map(|raw| serde_json::from_str::<String>(raw).ok());
        // An empty choice is refused; it cannot be said that it is one.
        schema.choices = texts.filter(|text| !text.is_empty()).map(Cow::Owned).collect();
    } else {
        let told = format!("Allowed values: {}", others.join(", "));
        schema.description = Some(Cow::Owned(match schema.description {
            Some(words) => format!("{words}\n{told}"),
            None => told,
        }));
    }
    Some(schema)
}

/// The type that all of these values have.
fn common_type(values: &[&str]) -> Option<Type> {
    let kind = |value: &&str| match value.as_bytes()[0] {
        b'{' => Type::Object,
        b'[' => Type::Array,
        b'"' => Type::String,
        b't' | b'f' => Type::Boolean,
        _ if value.contains(['.', 'e', 'E']) => Type::Number,
        _ => Type::Integer,
    };
    let first = kind(&values[0]);
    values.iter().all(|value| kind(value) == first).then_some(first)
}

#[cfg(test)]
mod tests;
