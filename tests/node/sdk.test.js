// The official TypeScript SDK through the gateway that `sluice demo` runs.

"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const readline = require("node:readline");
const { after, before, test } = require("node:test");

const Anthropic = require("@anthropic-ai/sdk");

const target = process.env.CARGO_TARGET_DIR ?? "target";
const root = path.join(__dirname, "..", "..");
// The program under test; $SLUICE names another one.
const sluice = process.env.SLUICE ?? path.resolve(root, target, "debug", "sluice");

const hello = { model: "claude-demo", max_tokens: 64, messages: [{ role: "user", content: "Hello" }] };

let demo;
let baseURL;

function client(name) {
  return new Anthropic({ baseURL, apiKey: `sk-demo-${name}`, maxRetries: 0 });
}

before(async () => {
  demo = spawn(sluice, ["demo", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "ignore"] });
  const lines = readline.createInterface({ input: demo.stdout });
  // Reading goes on, so that the demo never waits for a reader.
  const [first] = await once(lines, "line");
  baseURL = JSON.parse(first).gateway;
});

after(async () => {
  demo.kill("SIGTERM");
  const [code] = demo.exitCode === null ? await once(demo, "exit") : [demo.exitCode];
  assert.equal(code, 0);
});

test("a plain message", async () => {
  const answer = await client("alice").messages.create(hello);
  assert.match(answer.content[0].text, /^Hello from the account/);
  assert.equal(answer.stop_reason, "end_turn");
});

test("a streamed message", async () => {
  const pieces = [];
  const stream = client("alice").messages.stream(hello).on("text", (text) => pieces.push(text));
  const answer = await stream.finalMessage();
  assert.ok(pieces.length > 5, `${pieces.length} pieces`);
  assert.equal(pieces.join(""), answer.content[0].text);
  assert.equal(answer.stop_reason, "end_turn");
});

test("errors are the SDK's own", async () => {
  await assert.rejects(client("nobody").messages.create(hello), Anthropic.AuthenticationError);
  await assert.rejects(client("carol").messages.create(hello), (error) => {
    assert.ok(error instanceof Anthropic.PermissionDeniedError);
    assert.equal(error.error.error.type, "billing_error");
    assert.match(error.headers.get("x-request-id"), /^req_/);
    return true;
  });
});
