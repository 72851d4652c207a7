"""The official SDK talks to the gateway as it would to the upstream. Its errors: test_anthropic_errors.py."""

import asyncio
import concurrent.futures
import json
import threading

import anthropic
import httpx
import pytest

from gateway import Route, gateway, stack, until
from recorder import recorder

HELLO = {
    "model": "claude-test",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello"}],
}
TOOLS = [
    {
        "name": "weather",
        "description": "The weather somewhere.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "units": {"type": "array", "items": {"enum": ["metric", "imperial"]}},
            },
            "required": ["city", "days", "units"],
        },
    }
]
DEMANDED = {**HELLO, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "weather"}}

SCRIPT = """
[keys.plain]
greeting = "I am plain."
words = 12

[keys.endless]
words = 1000000
pace_ms = 1

[keys.held]
hold = true

[keys.theirs]
"""
ROUTES = {
    "plain": Route(),
    "endless": Route(),
    "held": Route(user={"concurrency": 1}),
    "few": Route(keys=["few-1", "few-2"], account={"concurrency": 1}),
    "mapped": Route(account={"models": {"claude-test": "vendor-test-7"}}),
}


@pytest.fixture(scope="module")
def running():
    # Nobody waits in a user's line: who finds the user's slots taken is refused.
    with stack(ROUTES, SCRIPT, "[policy]\nextra_wait_slots = 0\n") as running_stack:
        yield running_stack


def test_a_plain_message(running):
    answer = running.client("plain").messages.create(**HELLO)
    assert answer.content[0].text.startswith("I am plain.")
    assert (answer.stop_reason, answer.model) == ("end_turn", "claude-test")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 12


def test_a_streamed_message(running):
    with running.client("plain").messages.stream(**HELLO) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
    assert len(pieces) == 12
    assert "".join(pieces) == answer.content[0].text
    assert (answer.stop_reason, answer.model) == ("end_turn", "claude-test")
    assert answer.usage.output_tokens == 12


def test_raw_events_come_in_order(running):
    with running.client("plain").messages.create(**HELLO, stream=True) as events:
        kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[2:-3] == ["content_block_delta"] * 12
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_tool_is_called(running):
    answer = running.client("plain").messages.create(**DEMANDED)
    (block,) = answer.content
    assert answer.stop_reason == "tool_use"
    assert (block.type, block.name) == ("tool_use", "weather")
    assert set(block.input) == {"city", "days", "units"}


def test_a_tools_input_is_streamed_in_pieces(running):
    with running.client("plain").messages.stream(**DEMANDED) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        answer = stream.get_final_message()
    (block,) = answer.content
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == block.input
    assert set(block.input) == {"city", "days", "units"}
    assert answer.stop_reason == "tool_use"


def test_what_the_client_says_reaches_the_upstream_and_its_key_does_not():
    said = {
        **DEMANDED,
        "system": [{"type": "text", "text": "Être bref.", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "user_7"},
        "stop_sequences": ["\n\nEnd"],
        "temperature": 0.25,
    }
    with recorder() as upstream, gateway({"a": Route()}, upstream.url) as running_gateway:
        added = {"anthropic-beta": "some-beta", "cookie": "c=1"}
        client = running_gateway.client("a", default_headers=added)
        answer = client.messages.create(**said)
        [(headers, body)] = upstream.requests
    assert answer.content[0].text == "Recorded"
    assert json.loads(body) == said
    assert headers["x-api-key"] == "a" and "authorization" not in headers
    assert "sk-a" not in str(headers) and "cookie" not in headers
    assert headers["anthropic-beta"] == "some-beta"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["user-agent"].startswith("Anthropic/Python")
    assert headers["x-stainless-lang"] == "python"


def test_a_model_has_the_clients_name_here_and_the_upstreams_there():
    routes = {"mapped": ROUTES["mapped"]}
    with recorder() as upstream, gateway(routes, upstream.url) as running_gateway:
        answer = running_gateway.client("mapped").messages.create(**HELLO)
        [(_, body)] = upstream.requests
    assert json.loads(body) == {**HELLO, "model": "vendor-test-7"}
    assert answer.model == "claude-test"


def test_a_streamed_model_has_the_clients_name(running):
    with running.client("mapped").messages.stream(**HELLO) as stream:
        assert stream.get_final_message().model == "claude-test"


def test_a_model_that_no_account_serves(running):
    before = running.seen("mapped")
    with pytest.raises(anthropic.InternalServerError) as caught:
        running.client("mapped").messages.create(**{**HELLO, "model": "claude-other"})
    assert caught.value.status_code == 503
    assert running.seen("mapped") == before, "no upstream was asked"


def test_a_stream_that_is_closed_early_frees_its_slots(running):
    with running.client("endless").messages.stream(**HELLO) as stream:
        next(iter(stream.text_stream))
        assert running.slots("account", "endless") == (1, 0)
    until(lambda: running.slots("account", "endless") == running.slots("user", "endless") == (0, 0))
    until(lambda: running.seen("endless")["open"] == 0)


def test_twenty_at_once_are_served_by_two(running):
    client = running.client("few")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.messages.create(**HELLO), range(20)))
    assert [answer.stop_reason for answer in answers] == ["end_turn"] * 20
    # One may not have been asked at all: it is one conversation, and has a home.
    seen = [seen for key in ("few-1", "few-2") if (seen := running.seen(key))]
    assert sum(key["requests"] for key in seen) == 20
    assert {key["open_max"] for key in seen} == {1}


def test_the_async_client(running):
    async def ask():
        async with running.client("plain", anthropic.AsyncAnthropic) as client:
            plain = await client.messages.create(**HELLO)
            async with client.messages.stream(**HELLO) as stream:
                streamed = await stream.get_final_message()
        return plain, streamed

    for answer in asyncio.run(ask()):
        assert answer.content[0].text.startswith("I am plain.")


def test_the_sdk_tries_again_when_it_is_told_to(running):
    """The user's only slot is taken until the SDK has been refused once."""
    refused = threading.Event()
    retry_after = []

    def look(response):
        if response.status_code == 429:
            retry_after.append(response.headers["retry-after"])
            refused.set()

    hooked = anthropic.DefaultHttpxClient(event_hooks={"response": [look]})
    patient = running.client("held", max_retries=2, http_client=hooked)
    with hooked, concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(running.client("held").messages.create, **HELLO)
        until(lambda: (running.seen("held") or {}).get("open") == 1)
        second = pool.submit(patient.messages.create, **HELLO)
        assert refused.wait(timeout=30)
        running.release("held")
        assert first.result().stop_reason == "end_turn"
        until(lambda: running.slots("user", "held") == (1, 0))
        running.release("held")
        assert second.result().stop_reason == "end_turn"
    assert retry_after == ["2"]
    assert running.seen("held")["requests"] == 2


def test_every_answer_names_its_request(running):
    raw = running.client("plain").messages.with_raw_response.create(**HELLO)
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["request-id"] == "req_mock", "the upstream's own name for it"
    named = httpx.post(
        f"{running.url}/v1/messages",
        json=HELLO,
        headers={"x-api-key": "sk-plain", "x-request-id": "mine-1"},
    )
    assert named.headers["x-request-id"] == "mine-1"
