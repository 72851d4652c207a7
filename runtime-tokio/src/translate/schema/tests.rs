//! One rule a test.

use serde_json::{Value, json};

use super::*;
use crate::protocol::error::ApiError;

fn raw(schema: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(schema).expect("JSON")
}

fn parameters_of(schema: &Value) -> Result<Value, String> {
    let raw = raw(schema);
    let told = parameters(Some(&raw), &mut Budget::default());
    told.map(|schema| serde_json::to_value(schema).expect("JSON"))
        .map_err(|wrong| ApiError::from(wrong).message.into_owned())
}

/// What becomes of the schema of a property.
fn property(schema: Value) -> Value {
    let told = parameters_of(&json!({"properties": {"p": schema}, "$defs": defs()}));
    told.expect("a good schema")["properties"]["p"].take()
}

fn defs() -> Value {
    json!({
        "color": {"type": "string", "enum": ["red", "blue"], "description": "A color."},
        "tree": {"type": "object", "description": "A tree.", "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
        }},
        "a/b": {"type": "boolean"},
        "none": {"type": "null"},
        "loop": {"$ref": "#/$defs/loop"},
    })
}

#[test]
fn keywords_are_dropped_where_schemas_stand_and_nowhere_else() {
    let names =
        ["pattern", "default", "format", "not", "if", "const", "minimum", "$ref", "enum", "type"];
    let schema: Value = names.iter().map(|name| (*name, json!({"type": "string"}))).collect();
    let want: Value = names.iter().map(|name| (*name, json!({"type": "STRING"}))).collect();
    let got = parameters_of(&json!({"properties": schema, "required": names, "default": {}}));
    assert_eq!(got, Ok(json!({"type": "OBJECT", "properties": want, "required": names})));
}

#[test]
fn references_are_inlined_and_what_stands_beside_them_comes_first() {
    let color = json!({"type": "STRING", "enum": ["blue", "red"], "description": "A color."});
    assert_eq!(property(json!({"$ref": "#/$defs/color"})), color);
    let mut mine = color;
    mine["description"] = "Mine.".into();
    assert_eq!(property(json!({"$ref": "#/$defs/color", "description": "Mine."})), mine);
    assert_eq!(property(json!({"$ref": "#/$defs/a~1b"})), json!({"type": "BOOLEAN"}));
    assert_eq!(
        property(json!({"$ref": "#/$defs/none"})),
        json!({"type": "STRING", "nullable": true})
    );
}

#[test]
fn a_reference_that_leads_to_itself_is_cut_short() {
    let leaf = json!({"type": "OBJECT", "description": "A tree."});
    let want = json!({"type": "OBJECT", "description": "A tree.", "properties": {
        "value": {"type": "INTEGER"},
        "children": {"type": "ARRAY", "items": leaf},
    }});
    assert_eq!(property(json!({"$ref": "#/$defs/tree"})), want);
    assert_eq!(property(json!({"$ref": "#/$defs/loop"})), json!({}));
    let all = parameters_of(&json!({"properties": {"again": {"$ref": "#"}}}));
    let again = json!({"type": "OBJECT", "properties": {"again": {}}});
    assert_eq!(all, Ok(json!({"type": "OBJECT", "properties": {"again": again}})));
}

#[test]
fn a_reference_to_nothing_is_refused() {
    for reference in ["#/$defs/none/such", "#no", "https://example.com/x", "", "#/$defs/missing"] {
        let error = parameters_of(&json!({"properties": {"p": {"items": {"$ref": reference}}}}));
        let want = "properties.p.items.$ref: must name a place within the schema";
        assert_eq!(error, Err(want.to_owned()), "{reference}");
    }
}

#[test]
fn references_that_multiply_are_refused() {
    let mut defs = json!({"d0": {"type": "string", "description": "x".repeat(100)}});
    for i in 1..12 {
        let below = json!({"$ref": format!("#/$defs/d{}", i - 1)});
        defs[format!("d{i}")] =
            json!({"properties": {"a": below, "b": below, "c": below, "d": below}});
    }
    let error =
        parameters_of(&json!({"properties": {"p": {"$ref": "#/$defs/d11"}}, "$defs": defs}));
    let error = error.expect_err("too large");
    assert!(error.ends_with("is too large once its references are followed"), "{error}");
}

#[test]
fn a_schema_that_is_too_deep_is_refused() {
    let mut schema = json!({"type": "string"});
    for _ in 0..SCHEMA_DEPTH_MAX + 1 {
        schema = json!({"items": schema});
    }
    let error = parameters_of(&json!({"properties": {"p": schema}})).expect_err("too deep");
    assert!(error.ends_with("items: is nested too deeply"), "{error}");
}

#[test]
fn null_among_alternatives_makes_nullable() {
    let text = json!({"type": "STRING", "nullable": true});
    for schema in [
        json!({"type": ["string", "null"]}),
        json!({"type": "string", "nullable": true}),
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"oneOf": [{"const": null}, {"type": "string"}]}),
        json!({"anyOf": [{"enum": [null]}, {"type": "string"}]}),
        json!({"anyOf": [{"$ref": "#/$defs/none"}, {"type": "string"}]}),
        json!({"type": "null"}),
    ] {
        assert_eq!(property(schema.clone()), text, "{schema}");
    }
}

#[test]
fn a_union_stands_alone() {
    let schema = json!({
        "description": "Either.",
        "oneOf": [
            {"type": "string", "description": "Text."}, {"type": "integer"}, {"type": "null"},
        ],
    });
    let want = json!({"anyOf": [
        {"type": "STRING", "description": "Text.", "nullable": true},
        {"type": "INTEGER", "description": "Either.", "nullable": true},
    ]});
    assert_eq!(property(schema), want);
    let types = json!({"type": ["array", "string", "null"], "items": {"type": "number"}});
    let want = json!({"anyOf": [
        {"type": "ARRAY", "items": {"type": "NUMBER"}, "nullable": true},
        {"type": "STRING", "nullable": true},
    ]});
    assert_eq!(property(types), want);
    let inner = json!({"anyOf": [{"type": "string"}, {"type": "integer"}]});
    let required = json!({
        "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    });
    let variant = |name: &str| json!({"type": "OBJECT", "properties": {"a": {}, "b": {}}, "required": [name]});
    assert_eq!(property(required), json!({"anyOf": [variant("a"), variant("b")]}));
    let nested = json!({"anyOf": [inner, {"type": "boolean"}]});
    let want = json!({"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}, {"type": "BOOLEAN"}]});
    assert_eq!(property(nested), want);
}

#[test]
fn parameters_that_are_a_union_are_an_object_of_all() {
    let variant = |name: &str| {
        json!({
            "properties": {name: {"type": "string"}, "both": {}}, "required": [name, "both"],
        })
    };
    let got = parameters_of(&json!({"anyOf": [variant("a"), variant("b"), {"type": "string"}]}));
    let want = json!({"type": "OBJECT", "required": ["both"], "properties": {
        "a": {"type": "STRING"}, "both": {}, "b": {"type": "STRING"},
    }});
    assert_eq!(got, Ok(want));
}

#[test]
fn all_that_must_hold_is_put_together() {
    let schema = json!({"allOf": [
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"a": {"description": "A."}, "b": {"type": "integer"}}},
        {"required": ["a", "b"]},
    ]});
    let want = json!({"type": "OBJECT", "required": ["a", "b"], "properties": {
        "a": {"type": "STRING", "description": "A."}, "b": {"type": "INTEGER"},
    }});
    assert_eq!(property(schema), want);
    let both = json!({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]});
    assert_eq!(property(both), json!({"type": "STRING", "enum": ["b"]}));
}

#[test]
fn choices_are_texts_and_other_values_are_told() {
    let one = json!({"type": "STRING", "enum": ["x"]});
    assert_eq!(property(json!({"const": "x"})), one);
    assert_eq!(property(json!({"enum": ["x", ""]})), one);
    let want = json!({"type": "STRING", "enum": ["x"], "nullable": true});
    assert_eq!(property(json!({"enum": ["x", null]})), want);
    let want = json!({"type": "INTEGER", "description": "Level.\nAllowed values: 1, 2"});
    assert_eq!(property(json!({"enum": [1, 2], "description": "Level."})), want);
    let want = json!({"description": "Allowed values: \"a\", 1.5"});
    assert_eq!(property(json!({"enum": ["a", 1.5]})), want);
    let want = json!({"type": "BOOLEAN", "description": "Allowed values: true"});
    assert_eq!(property(json!({"const": true})), want);
}

#[test]
fn types_are_implied_by_what_belongs_to_them() {
    assert_eq!(property(json!({"properties": {"a": {}}}))["type"], "OBJECT");
    assert_eq!(property(json!({"items": true})), json!({"type": "ARRAY", "items": {}}));
    assert_eq!(property(json!({"type": "array"})), json!({"type": "ARRAY", "items": {}}));
    assert_eq!(property(json!({"type": "any"})), json!({}));
    assert_eq!(property(json!(true)), json!({}));
    let tuple = json!({"prefixItems": [{"type": "string"}, {"type": "integer"}]});
    let items = json!({"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]});
    assert_eq!(property(tuple), json!({"type": "ARRAY", "items": items}));
}

#[test]
fn only_properties_can_be_required() {
    let schema = json!({"properties": {"a": {}}, "required": ["a", "b"]});
    assert_eq!(property(schema)["required"], json!(["a"]));
}
