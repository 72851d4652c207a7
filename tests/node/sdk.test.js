// The official TypeScript SDKs through the gateway that `sluice demo` runs.

"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const readline = require("node:readline");
const { after, before, test } = require("node:test");

const Anthropic = require("@anthropic-ai/sdk");
const { GoogleGenAI } = require("@google/genai");
const OpenAI = require("openai");

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

test("tokens are counted and models listed", async () => {
  const { messages } = hello;
  const counted = await client("alice").messages.countTokens({ model: hello.model, messages });
  assert.ok(counted.input_tokens > 0);
  const models = await client("alice").models.list();
  assert.ok(models.data.some((model) => model.id.startsWith("claude-")));
});

test("a response of OpenAI, plain and streamed", async () => {
  const openai = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "sk-demo-alice", maxRetries: 0 });
  const request = { model: "gpt-demo", input: "Hello" };
  const answer = await openai.responses.create(request);
  assert.match(answer.output_text, /^Hello from the account/);
  let text = "";
  for await (const event of await openai.responses.create({ ...request, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.match(text, /^Hello from the account/);
});

test("an answer of Gemini, plain and streamed", async () => {
  const { models } = new GoogleGenAI({ apiKey: "sk-demo-alice", httpOptions: { baseUrl: baseURL } });
  const request = { model: "gemini-demo", contents: "Hello" };
  assert.match((await models.generateContent(request)).text, /^Hello from the account/);
  let text = "";
  for await (const chunk of await models.generateContentStream(request)) text += chunk.text ?? "";
  assert.match(text, /^Hello from the account/);
  const counted = await models.countTokens(request);
  assert.ok(counted.totalTokens > 0);
});
