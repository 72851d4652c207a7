//! The vectors of the behaviour that clients know. Where ours differs, the difference and its
//! reason stand beside the vector.

use super::*;

#[test]
fn a_plain_conversation() {
    // A-basic. Text is not trimmed, turns of one side are one, the client's limits are kept; no
    // stop sequences and safety settings are added to what the client asked.
    let body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 256, "system": "Be brief.",
        "temperature": 0.2, "top_k": 5,
        "messages": [
            {"role": "user", "content": "  hello  "},
            {"role": "assistant", "content": "(no content)"},
            {"role": "user", "content": [{"type": "text", "text": " keep spaces "}]},
        ],
    });
    let want = json!({
        "contents": [{"role": "user", "parts": [{"text": "  hello  "}, {"text": " keep spaces "}]}],
        "generationConfig": {"maxOutputTokens": 256, "temperature": 0.2, "topK": 5},
        "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
    });
    assert_eq!(asked("claude-sonnet-4-5", &body), Ok(want));
}

#[test]
fn thinking_for_a_gemini_model() {
    // A-thinking-gemini. The signature is the real one.
    let signature = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5";
    let body = json!({
        "model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 4000},
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hmm", "signature": signature},
                {"type": "text", "text": "a"},
            ]},
            {"role": "user", "content": "next"},
        ],
    });
    let want = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "q"}]},
            {"role": "model", "parts": [
                {"text": "hmm", "thought": true, "thoughtSignature": signature},
                {"text": "a"},
            ]},
            {"role": "user", "parts": [{"text": "next"}]},
        ],
        "generationConfig": {"thinkingConfig": {"includeThoughts": true, "thinkingBudget": 4000}},
    });
    assert_eq!(asked("gemini-3-flash", &body), Ok(want));
}

#[test]
fn a_dummy_is_not_sent_to_a_claude_model() {
    // A-thinking-claude-skips-dummy. The turns that are left are of one side, and one.
    let dummy = "skip_thought_signature_validator";
    let body = json!({
        "model": "claude-opus-4",
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hmm", "signature": dummy},
            ]},
            {"role": "user", "content": "n"},
        ],
    });
    let want = json!({"contents": [{"role": "user", "parts": [{"text": "q"}, {"text": "n"}]}]});
    assert_eq!(asked("claude-opus-4-5-thinking", &body), Ok(want));
}

#[test]
fn tools_and_their_results() {
    // A-tools-roundtrip. That a tool failed is told by the name of what it said.
    let body = json!({
        "model": "claude-haiku-4-5",
        "messages": [
            {"role": "user", "content": "ls"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "tu_1", "name": "bash", "input": {"cmd": "ls"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "tu_1", "content": [
                    {"type": "text", "text": "x"}, {"type": "text", "text": "y"},
                ]},
                {"type": "tool_result", "tool_use_id": "tu_9", "is_error": true},
            ]},
        ],
    });
    let call = json!({"name": "bash", "id": "tu_1", "args": {"cmd": "ls"}});
    let (result, error) = ("x\ny", "Tool execution failed with no output.");
    let want = json!({"contents": [
        {"role": "user", "parts": [{"text": "ls"}]},
        {"role": "model", "parts": [
            {"functionCall": call, "thoughtSignature": "skip_thought_signature_validator"},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "bash", "response": {"result": result}, "id": "tu_1"}},
            {"functionResponse": {"name": "tu_9", "response": {"error": error}, "id": "tu_9"}},
        ]},
    ]});
    assert_eq!(asked("gemini-3-flash", &body), Ok(want));
}

#[test]
fn a_web_search_beside_a_tool() {
    // A-web-search-wipes-tools. It does not, and the choice of tools is the client's.
    let body = json!({
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [
            {"type": "web_search_20250305", "name": "web_search"},
            {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        ],
        "tool_choice": {"type": "any"},
    });
    let function = json!({"name": "f", "parameters": {"type": "OBJECT", "properties": {}}});
    let want = json!({
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [{"functionDeclarations": [function]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    });
    assert_eq!(asked("claude-sonnet-4-5", &body), Ok(want));
}

/// The parameters of a tool with this schema.
fn parameters(schema: &Value) -> Value {
    let tool = json!({"name": "f", "input_schema": schema});
    let body = json!({"messages": [{"role": "user", "content": "x"}], "tools": [tool]});
    let mut asked = asked("gemini-3-flash", &body).expect("a good schema");
    asked["tools"][0]["functionDeclarations"][0]["parameters"].take()
}

#[test]
fn a_schema_with_a_parameter_called_pattern() {
    // schema-A. Without `additionalProperties`: not every upstream of this protocol knows it, and
    // `false` in the place of a schema forbids what the client allows.
    let string = |more: Value| {
        let mut schema = json!({"type": "STRING"});
        schema.as_object_mut().expect("an object").extend(more.as_object().expect("too").clone());
        schema
    };
    let got = parameters(&json!({
        "$schema": "x",
        "type": "object",
        "additionalProperties": {"type": "string"},
        "required": ["path", "when", "pattern"],
        "properties": {
            "path": {"type": "string", "minLength": 1, "description": "p"},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "mail": {"type": "string", "format": "email"},
            "tags": {
                "type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 3,
            },
            "pattern": {"type": "string"},
            "u": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }));
    let want = json!({
        "type": "OBJECT",
        "required": ["path", "when", "pattern"],
        "properties": {
            "path": string(json!({"description": "p"})),
            "when": string(json!({"format": "date-time", "nullable": true})),
            "mail": string(json!({})),
            "tags": {"type": "ARRAY", "items": string(json!({"enum": ["a", "b"]}))},
            "u": string(json!({"nullable": true})),
            "pattern": string(json!({})),
        },
    });
    assert_eq!(got, want);
}

#[test]
fn schemas_that_say_nothing() {
    // schema-A-null-and-empty. Parameters are an object, also where their schema names another
    // type.
    let nothing = json!({"type": "OBJECT", "properties": {}});
    for schema in [
        json!(null),
        json!({}),
        json!({"required": ["a"]}),
        json!({"type": ["null"], "additionalProperties": true}),
    ] {
        assert_eq!(parameters(&schema), nothing, "{schema}");
    }
}

#[test]
fn odd_roles_and_empty_messages() {
    // C-basic. Every text of the system prompt is a part and not trimmed, `top_k` is kept, and the
    // message that says nothing is none, so that those around it are one turn.
    let body = json!({
        "model": "m",
        "system": [
            {"type": "text", "text": "A"}, {"type": "text", "text": " "},
            {"type": "text", "text": "B "},
        ],
        "max_tokens": 99, "temperature": 1, "top_p": 0.9, "top_k": 3, "stop_sequences": ["END"],
        "messages": [
            {"role": "user", "content": " hi "},
            {"role": "assistant", "content": []},
            {"role": "system", "content": "odd role"},
        ],
    });
    let want = json!({
        "systemInstruction": {"role": "user", "parts": [{"text": "A"}, {"text": "B "}]},
        "contents": [{"role": "user", "parts": [{"text": " hi "}, {"text": "odd role"}]}],
        "generationConfig": {
            "maxOutputTokens": 99, "temperature": 1, "topP": 0.9, "topK": 3,
            "stopSequences": ["END"],
        },
    });
    assert_eq!(asked("m", &body), Ok(want));
}

#[test]
fn tools_in_every_form() {
    // C-tools. The public form of a custom tool, `c`, is a tool too; `a` has no description.
    let body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [
            {"name": "a", "input_schema": {
                "type": "object", "additionalProperties": false,
                "properties": {"q": {"type": "string", "minLength": 2}},
            }},
            {"type": "custom", "name": "b", "custom": {"description": "D"}},
            {"type": "custom", "name": "c", "input_schema": {"type": "object"}},
        ],
    });
    let none = json!({"type": "OBJECT", "properties": {}});
    let want = json!({
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [{"functionDeclarations": [
            {"name": "a", "parameters": {
                "type": "OBJECT", "properties": {"q": {"type": "STRING"}},
            }},
            {"name": "b", "description": "D", "parameters": none},
            {"name": "c", "parameters": none},
        ]}],
    });
    assert_eq!(asked("m", &body), Ok(want));
}

#[test]
fn messages_that_are_no_array() {
    // C-messages-not-array.
    let error = asked("m", &json!({"model": "m", "messages": "hi"})).expect_err("wrong");
    let told = (error.status, &*error.kind, &*error.message);
    assert_eq!(told, (400, "invalid_request_error", "messages must be an array"));
}

#[test]
fn a_stream_of_thinking_text_and_a_call() {
    // A-response-stream, with its blank lines missing as in the vector.
    let chunk = |candidate: Value| json!({"candidates": [candidate]});
    let part = |part: Value| json!({"content": {"parts": [part]}});
    let mut thought = chunk(part(json!({"text": "mm", "thought": true, "thoughtSignature": "S"})));
    thought["responseId"] = "r2".into();
    let text = chunk(part(json!({"text": "Hi"})));
    let call = json!({"functionCall": {"name": "f", "args": {"a": 1}, "id": "c9"}});
    let mut call = chunk(part(call));
    call["candidates"][0]["finishReason"] = "STOP".into();
    call["usageMetadata"] = json!({"promptTokenCount": 3, "candidatesTokenCount": 2});
    let line = |chunk: Value| format!("data: {}", json!({ "response": chunk }));
    let lines = [line(thought), String::new(), line(text), line(call)];
    let got = events_of(&streamed([lines.join("\n").into()]));
    let start = |index: usize, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: usize, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: usize| json!({"type": "content_block_stop", "index": index});
    let message = json!({
        "id": "r2", "type": "message", "role": "assistant", "content": [], "model": "claude-mine",
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    });
    let end = json!({
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": null},
        "usage": {"input_tokens": 3, "output_tokens": 2},
    });
    let want = [
        json!({"type": "message_start", "message": message}),
        start(0, json!({"type": "thinking", "thinking": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "mm"})),
        delta(0, json!({"type": "signature_delta", "signature": "S"})),
        stop(0),
        start(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "Hi"})),
        stop(1),
        start(2, json!({"type": "tool_use", "id": "c9", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
        stop(2),
        end,
        json!({"type": "message_stop"}),
    ];
    assert_eq!(got, want);
}

#[test]
fn all_chunks_of_a_stream_are_one_answer() {
    // C-collect-last-chunk.
    let chunk = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}}]});
    let mut chunks = ["Hello ", "world", "!"].map(chunk);
    chunks[2]["candidates"][0]["finishReason"] = "STOP".into();
    let message = message_of(stream_of(&chunks)).expect("an answer");
    assert_eq!(message["content"], json!([{"type": "text", "text": "Hello world!"}]));
}
