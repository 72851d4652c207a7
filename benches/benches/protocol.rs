//! What reading costs: a request's body, by its size, and a stream's events on their way.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use sluice_runtime_tokio::protocol::anthropic::Skim;
use sluice_runtime_tokio::protocol::json;
use sluice_runtime_tokio::translate::{Naming, Stream, Upstream, request};
use sluice_runtime_tokio::upstream::relay::Relay;

const PROSE: &str = "The tests fail because the parser stops at the first blank line. I think the \
    loop should go on until the text ends; please look at it and tell me what you'd change.\n\n";

const CODE: &str = "```rust\nfn next(&mut self) -> Result<Option<Line<'_>>, Error> {\n    \
    let Some(at) = self.rest.find('\\n') else {\n        \
    return Err(Error::new(\"no \\\"line\\\" is left\"));\n    };\n    \
    let (line, rest) = self.rest.split_at(at + 1);\n    self.rest = rest;\n    \
    if line[..at].ends_with(\"\\\\\") { /* [goes on] */ }\n    Ok(Some(Line { line }))\n}\n```\n";

/// A conversation about code with tools and a system prompt, of about so many bytes.
fn body(size: usize) -> String {
    let tool = json!({"name": "read_file", "description": PROSE, "input_schema":
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}});
    let mut messages: Vec<Value> = Vec::new();
    let message = |messages: &[Value]| {
        let role = if messages.len().is_multiple_of(2) { "user" } else { "assistant" };
        let text = [PROSE, CODE].concat().repeat(1 + messages.len() % 5);
        json!({"role": role, "content": [{"type": "text", "text": text}]})
    };
    let mut left = size.saturating_sub(700);
    while left > 0 {
        let mut message = message(&messages);
        if message.to_string().len() > left {
            message["content"][0]["text"] = PROSE.repeat(1 + left / PROSE.len()).into();
        }
        left = left.saturating_sub(message.to_string().len());
        messages.push(message);
    }
    // `messages` stands before `metadata` and `stream`, as clients send it.
    format!(
        "{{\"model\":\"claude-test\",\"max_tokens\":4096,\"system\":{},\"messages\":{},\"tools\":{},\
         \"metadata\":{{\"user_id\":\"user_1_session_2\"}},\"stream\":true}}",
        json!(PROSE),
        Value::from(messages),
        json!([tool]),
    )
}

fn skim(c: &mut Criterion) {
    let mut group = c.benchmark_group("protocol/skim");
    for size in [1_000, 100_000, 1_000_000] {
        let body = body(size);
        Skim::read(body.as_bytes()).expect("a good body");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(Skim::read(black_box(body.as_bytes()))).is_ok());
        });
    }
    group.finish();
}

fn splice(c: &mut Criterion) {
    let body = body(100_000);
    let skim = Skim::read(body.as_bytes()).expect("a good body");
    c.bench_function("protocol/splice/100000", |b| {
        b.iter(|| json::splice(black_box(body.as_bytes()), &skim.models, "another"));
    });
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
    {\"model\":\"m\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n";

const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
    \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" a few words\"}}\n\n";

/// An answer in full flow, so many events in one piece; then the same, each piece cut within an
/// event.
fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("protocol/relay");
    for events in [1, 16, 64] {
        let whole = Bytes::from(DELTA.repeat(events));
        let cut = Bytes::from([&DELTA[40..], &DELTA.repeat(events - 1), &DELTA[..40]].concat());
        group.throughput(Throughput::Elements(events as u64));
        for (name, chunk) in [("whole", whole), ("cut", cut)] {
            let mut relay = Relay::default();
            relay.push(Bytes::from([START, DELTA].concat()));
            if name == "cut" {
                relay.push(Bytes::from_static(&DELTA.as_bytes()[..40]));
            }
            group.bench_function(BenchmarkId::new(name, events), |b| {
                b.iter(|| black_box(relay.push(black_box(chunk.clone()))));
            });
        }
    }
    group.finish();
}

/// A request in Gemini's words, by its size.
fn translate(c: &mut Criterion) {
    let mut group = c.benchmark_group("protocol/translate");
    let upstream = Upstream { model: "gemini-test", project: Some("project") };
    for size in [1_000, 100_000, 1_000_000] {
        let body = body(size);
        request(body.as_bytes(), &upstream).expect("a good body");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(request(black_box(body.as_bytes()), &upstream)).is_ok());
        });
    }
    group.finish();
}

const CHUNK: &str = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":\
    [{\"text\":\" a few words\"}]},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":5,\
    \"candidatesTokenCount\":1,\"totalTokenCount\":6},\"modelVersion\":\"gemini-test\"}\r\n\r\n";

/// A chunk of Gemini's in full flow, as events.
fn translate_stream(c: &mut Criterion) {
    let mut stream = Stream::new(Naming { model: "claude-test".into(), nonce: 1 });
    stream.push(Bytes::from_static(CHUNK.as_bytes()));
    c.bench_function("protocol/translate-stream", |b| {
        b.iter(|| black_box(stream.push(black_box(Bytes::from_static(CHUNK.as_bytes())))));
    });
}

criterion_group!(benches, skim, splice, relay, translate, translate_stream);
criterion_main!(benches);
