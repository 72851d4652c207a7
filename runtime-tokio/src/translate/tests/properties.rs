//! What holds for every answer and for every request.

use proptest::prelude::*;

use super::grammar::judge;
use super::*;

/// A part of an answer, in all its kinds, some of them odd.
fn part() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["", "a", "ab", "é\n", "\"}\u{2028}", "data: x\n\n"]);
    let seal = prop::option::of(prop::sample::select(vec!["", "YQ==", "Yg=="]));
    (text, seal, 0..8_u8).prop_map(|(text, seal, kind)| {
        let id = ["c", "c", "", "not an id"][text.len() % 4];
        let mut part = match kind {
            0..=1 => json!({"text": text}),
            2..=3 => json!({"text": text, "thought": true}),
            4 => json!({"functionCall": {"name": "f", "id": id, "args": {"a": text}}}),
            5 => json!({"functionCall": {"name": "f"}}),
            6 => json!({"inlineData": {"mimeType": "image/png", "data": "YQ=="}}),
            _ => json!({"executableCode": {"code": text}}),
        };
        if let Some(seal) = seal {
            part["thoughtSignature"] = seal.into();
        }
        part
    })
}

/// A chunk, mostly a good one.
fn chunk() -> impl Strategy<Value = Value> {
    let finish = prop::option::of(prop::sample::select(vec![
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "MALFORMED_FUNCTION_CALL",
        "",
        "NEW",
    ]));
    (prop::collection::vec(part(), 0..4), finish, 0..24_u8).prop_map(|(parts, finish, kind)| {
        let mut chunk = json!({"candidates": [{"content": {"parts": parts}}]});
        if let Some(finish) = finish {
            chunk["candidates"][0]["finishReason"] = finish.into();
        }
        match kind {
            0 => json!({"error": {"code": 503}}),
            1 => json!({"candidates": 7}),
            2 => json!({"promptFeedback": {"blockReason": "SAFETY"}}),
            3 => json!({"usageMetadata": {"promptTokenCount": 3, "cachedContentTokenCount": 9}}),
            4 => {
                let found = json!({"webSearchQueries": ["q"], "groundingChunks": [{"web": {}}]});
                chunk["candidates"][0]["groundingMetadata"] = found;
                chunk
            }
            5..=9 => json!({"response": chunk}),
            _ => chunk,
        }
    })
}

fn chunks() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(chunk(), 0..8)
}

/// Any JSON that a request may be made of.
fn any_json() -> impl Strategy<Value = Value> {
    let names = [
        "type",
        "text",
        "content",
        "source",
        "role",
        "parts",
        "id",
        "name",
        "input",
        "properties",
        "items",
        "$ref",
        "$defs",
        "anyOf",
        "allOf",
        "enum",
        "const",
        "required",
        "a",
        "thinking",
    ];
    let texts = [
        "text",
        "tool_use",
        "tool_result",
        "thinking",
        "image",
        "document",
        "base64",
        "object",
        "array",
        "null",
        "#/$defs/a",
        "#",
        "#/properties/a",
        "user",
        "a",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether a schema holds known keywords alone, each where it belongs.
fn is_schema(schema: &Value) -> bool {
    let object = schema.as_object().expect("a schema is an object");
    let strings = |value: &Value| {
        value
            .as_array()
            .is_some_and(|all| all.iter().all(|v| v.as_str().is_some_and(|s| !s.is_empty())))
    };
    object.iter().all(|(keyword, value)| match &**keyword {
        "type" => ["OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN"]
            .contains(&value.as_str().expect("a type")),
        "title" | "description" => value.is_string(),
        "format" => value == "date-time",
        "nullable" => value == true,
        "enum" => object["type"] == "STRING" && strings(value),
        "properties" => {
            object["type"] == "OBJECT"
                && value.as_object().expect("an object").values().all(is_schema)
        }
        "required" => value
            .as_array()
            .expect("an array")
            .iter()
            .all(|name| object["properties"].get(name.as_str().expect("a name")).is_some()),
        "items" => object["type"] == "ARRAY" && is_schema(value),
        "anyOf" => {
            let variants = value.as_array().expect("an array");
            object.len() == 1 && variants.len() > 1 && variants.iter().all(is_schema)
        }
        _ => false,
    }) && (object.get("type") != Some(&json!("ARRAY")) || object.contains_key("items"))
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_events(
        chunks in chunks(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let stream = stream_of(&chunks);
        let whole = streamed([stream.clone()]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| stream.slice(pair[0]..pair[1]));
        prop_assert_eq!(&streamed(pieces), &whole);
        let every = (0..stream.len()).map(|at| stream.slice(at..=at));
        prop_assert_eq!(&streamed(every), &whole);
    }

    #[test]
    fn every_stream_is_in_order_and_makes_the_same_message(chunks in chunks()) {
        let stream = stream_of(&chunks);
        let events = events_of(&streamed([stream.clone()]));
        judge(&events);
        match (put_together(&events), message_of(stream)) {
            (Ok(put_together), Ok(message)) => prop_assert_eq!(put_together, message),
            (Err(told), Err(error)) => prop_assert_eq!(&told["message"], &*error.message),
            (told, message) => prop_assert!(false, "{:?} and {:?}", told, message),
        }
    }

    #[test]
    fn ids_of_calls_are_unique(chunks in chunks()) {
        if let Ok(message) = message_of(stream_of(&chunks)) {
            let blocks = message["content"].as_array().expect("an array");
            let id = |block: &'_ Value| block["id"].as_str().map(str::to_owned);
            let mut ids: Vec<String> = blocks.iter().filter_map(id).collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), all);
        }
    }

    #[test]
    fn any_request_is_translated_or_refused(
        parts in prop::collection::vec(any_json(), 5),
        model in prop::sample::select(vec!["gemini-3-flash", "claude-sonnet-4-5"]),
    ) {
        let body = json!({
            "system": parts[0], "tools": [{"name": "a", "input_schema": parts[1]}],
            "messages": [
                {"role": "user", "content": parts[2]},
                {"role": "assistant", "content": [parts[3], {"type": "text", "text": "a"}]},
            ],
            "thinking": parts[4],
        });
        match asked(model, &body) {
            Err(error) => prop_assert_eq!(error.status, 400),
            Ok(request) => {
                let claude = model.starts_with("claude");
                let dummy = request.to_string().contains("skip_thought_signature_validator");
                prop_assert!(!(claude && dummy));
            }
        }
    }

    #[test]
    fn any_schema_becomes_one_that_the_upstream_takes(schema in any_json()) {
        let schema = json!({"properties": {"a": schema}, "$defs": {"a": {"type": "string"}}});
        let tool = json!({"name": "f", "input_schema": schema});
        let body = json!({"messages": [{"role": "user", "content": "x"}], "tools": [tool]});
        if let Ok(request) = asked("gemini-3-flash", &body) {
            let parameters = &request["tools"][0]["functionDeclarations"][0]["parameters"];
            prop_assert!(is_schema(parameters), "{}", parameters);
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let stream = Bytes::from(bytes);
        judge(&events_of(&streamed([stream.clone()])));
        prop_assert!(message_of(stream.clone()).is_err());
        prop_assert!(crate::translate::whole(&stream, naming()).is_err());
    }
}
