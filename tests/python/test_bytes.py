"""What an upstream answers reaches the client byte for byte. No SDK: only what is on the wire counts."""

import http.client
import json

import pytest

from gateway import Route, gateway, mock_upstream, stack, text_file
from recorder import MESSAGE, recorder
from test_anthropic_sdk import DEMANDED, HELLO

SCRIPT = """
[keys.text]
greeting = "Grüße, 世界 🌍 \\"quoted\\" \\\\ and more"
words = 40

[keys.tool]
tool = true

[keys.torn]
words = 40
faults = [{ kind = "torn", after_events = 20 }]

[keys.mapped]
"""
ROUTES = {
    "text": Route(),
    "tool": Route(),
    "torn": Route(),
    "mapped": Route(account={"models": {"claude-test": "vendor-test-7"}}),
}
CACHED = {**HELLO, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}


def fetch(base, key, body):
    """The answer's status, type and bytes; of one that breaks off, the bytes that came."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=30)
    headers = {"x-api-key": key, "content-type": "application/json"}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answer = connection.getresponse()
    try:
        content = answer.read()
    except http.client.IncompleteRead as torn:
        content = torn.partial
    connection.close()
    return answer.status, answer.headers["content-type"], content


@pytest.fixture(scope="module")
def sides():
    """Two mock upstreams that answer alike: one with a gateway in front of it, one without."""
    with text_file(SCRIPT) as path, mock_upstream("--script", path) as direct:
        with stack(ROUTES, SCRIPT) as behind:
            yield direct, behind.url


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("key", ["text", "tool"])
@pytest.mark.parametrize("body", [HELLO, DEMANDED, CACHED], ids=["hello", "demanded", "cached"])
def test_an_answer_is_the_upstreams(sides, key, body, stream):
    direct, behind = sides
    body = {**body, "stream": stream}
    asked = fetch(direct, key, body)
    assert fetch(behind, f"sk-{key}", body) == asked
    assert asked[0] == 200 and len(asked[2]) > 200


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_only_the_models_name_differs_where_it_has_another(sides, stream):
    direct, behind = sides
    status, kind, asked = fetch(direct, "mapped", {**HELLO, "model": "vendor-test-7", "stream": stream})
    assert asked.count(b"vendor-test-7") == 1
    mine = asked.replace(b"vendor-test-7", b"claude-test")
    assert fetch(behind, "sk-mapped", {**HELLO, "stream": stream}) == (status, kind, mine)


def test_whole_events_of_a_torn_stream_come_and_then_an_error(sides):
    direct, behind = sides
    body = {**HELLO, "stream": True}
    _, _, asked = fetch(direct, "torn", body)
    assert asked.endswith(b"\n\n")
    status, _, got = fetch(behind, "sk-torn", body)
    assert (status, got[: len(asked)]) == (200, asked)
    error = got[len(asked) :]
    assert error.startswith(b"event: error\ndata: {") and error.endswith(b"}\n\n")
    assert error.count(b"\n\n") == 1


ODD = "".join(
    [
        ": a comment before anything\n\n",
        'event: message_start\r\ndata: {"type":"message_start",\r\ndata: "message":{"model":"m"}}\r\n\r\n',
        "event: ping\ndata: {}\n\n",
        'data: {"type":"content_block_delta","delta":{"text":"ä世🌍\\u0000\\n"}}\n\n',
        "id: 7\nretry: 5\nevent: unheard_of\ndata:no space\ndata\n\n\n\n",
        'event: content_block_delta\rdata: {"text":"old line ends"}\r\r',
        ": comment\n\n",
        'event: message_stop\ndata: {"type": "message_stop"}\n\n',
        ": and one after the end\n\n",
    ]
).encode()


def cut(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.fixture(scope="module")
def recorded():
    routes = {"a": Route(), "secretive": Route(keys=["a-secret-of-the-account"])}
    with recorder() as upstream, gateway(routes, upstream.url) as running_gateway:
        yield upstream, running_gateway.url


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, len(ODD)])
def test_a_stream_may_come_in_any_pieces(recorded, size):
    upstream, behind = recorded
    upstream.headers = {"content-type": "text/event-stream; charset=utf-8"}
    upstream.pieces = cut(ODD, size)
    body = {**HELLO, "stream": True}
    assert fetch(upstream.url, "a", body)[2] == ODD
    assert fetch(behind, "sk-a", body) == (200, "text/event-stream; charset=utf-8", ODD)


@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_a_plain_answer_may_come_in_any_pieces_and_form(recorded, size):
    upstream, behind = recorded
    text = ("\n  " + json.dumps(MESSAGE, indent=3) + " \r\n").encode()
    upstream.headers = {"content-type": "application/json"}
    upstream.pieces = cut(text, size)
    assert fetch(behind, "sk-a", HELLO) == (200, "application/json", text)


def test_a_plain_answer_that_is_longer_than_what_is_held(recorded):
    upstream, behind = recorded
    text = json.dumps({**MESSAGE, "content": [{"type": "text", "text": "x" * 6_000_000}]}).encode()
    upstream.headers = {"content-type": "application/json"}
    upstream.pieces = cut(text, 100_003)
    assert fetch(behind, "sk-a", HELLO) == (200, "application/json", text)


def test_the_kind_of_an_answer_may_be_written_in_other_letters(recorded):
    upstream, behind = recorded
    upstream.headers = {"content-type": "Application/JSON; charset=utf-8"}
    upstream.pieces = [json.dumps(MESSAGE).encode()]
    assert fetch(behind, "sk-a", HELLO)[0] == 200


def test_after_the_last_event_nothing_is_passed_on_but_comments(recorded):
    upstream, behind = recorded
    upstream.headers = {"content-type": "text/event-stream"}
    upstream.pieces = [ODD, b'event: error\ndata: {"type": "error"}\n\n', ODD]
    assert fetch(behind, "sk-a", {**HELLO, "stream": True})[2] == ODD


@pytest.mark.parametrize("size", [3, 100_000])
def test_a_credential_that_an_upstream_repeats_does_not_reach_the_client(recorded, size):
    upstream, behind = recorded
    upstream.headers = {"content-type": "text/event-stream"}
    message = "x" * 985 + " the key a-secret-of-the-account is not good"
    error = json.dumps({"type": "error", "error": {"type": "api_error", "message": message}})
    begin = ODD.split(b"event: message_stop")[0]
    upstream.pieces = cut(begin + f"event: error\ndata: {error}\n\n".encode(), size)
    answer = fetch(behind, "sk-secretive", {**HELLO, "stream": True})[2]
    assert answer.startswith(begin) and b"event: error" in answer
    assert b"a-sec" not in answer
