"""Upstreams that fail at every tenth request in every way there is: an official SDK sees answers that are
whole, and errors that its documentation names.

SLUICE_FAULT_REQUESTS says how many requests each protocol is asked, plain and streaming (60).
"""

import collections
import concurrent.futures
import os

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from gateway import PATIENCE, Route, stack, until

REQUESTS = int(os.environ.get("SLUICE_FAULT_REQUESTS", "60"))
AT_ONCE = 8
WORDS = 12
KINDS = [
    'kind = "status", status = 429, retry_after_s = 1',
    'kind = "status", status = 529',
    'kind = "status", status = 500',
    'kind = "status", status = 401',
    'kind = "html"',
    'kind = "reset"',
    'kind = "stall"',
    'kind = "stall", after_events = 4',
    'kind = "torn", after_events = 4',
    'kind = "truncated"',
    'kind = "error_event"',
    'kind = "linger"',
]
#: Out of a thousand, a hundred in all.
EACH = 100 // len(KINDS)
PLATFORMS = {"anthropic": {}, "openai": {"platform": "openai"}, "gemini": {"platform": "gemini"}}
ACCOUNTS = {name: [f"{name}-{n}" for n in range(6)] for name in PLATFORMS}
FAULTS = ", ".join(f"{{ {kind}, per_mille = {EACH} }}" for kind in KINDS)
SCRIPT = f"[default]\nwords = {WORDS}\nfaults = [{FAULTS}]\n"
ROUTES = {name: Route(keys=ACCOUNTS[name], account=table) for name, table in PLATFORMS.items()}
#: A Claude model that a Gemini upstream answers for.
ROUTES["translated"] = Route(keys=[f"translated-{n}" for n in range(6)], account=PLATFORMS["gemini"])
#: What stalls is found out soon; what a 401 closes is opened again soon.
SETTINGS = """
[upstream]
idle_timeout_ms = 1000
header_timeout_ms = 1000
[policy]
quarantine_ms = 1000
quarantine_max_ms = 2000
ejection_ms = 500
"""

HELLO = [{"role": "user", "content": "Hello"}]


def _anthropic(running, route):
    client = running.client(route)
    body = {"model": "m", "max_tokens": 99, "messages": HELLO}

    def plain():
        return client.messages.create(**body).content[0].text

    def streamed():
        with client.messages.stream(**body) as stream:
            return stream.get_final_message().content[0].text

    return plain, streamed, anthropic.APIError


def _openai(running, route):
    client = openai.OpenAI(
        base_url=f"{running.url}/v1", api_key=f"sk-{route}", max_retries=0, timeout=PATIENCE
    )

    def plain():
        return client.responses.create(model="m", input="Hello").output_text

    def streamed():
        with client.responses.stream(model="m", input="Hello") as stream:
            return stream.get_final_response().output_text

    return plain, streamed, openai.APIError


def _gemini(running, route):
    options = types.HttpOptions(base_url=running.url, timeout=PATIENCE * 1000)
    client = genai.Client(api_key=f"sk-{route}", http_options=options)

    def plain():
        return client.models.generate_content(model="m", contents="Hello").text

    def streamed():
        chunks = client.models.generate_content_stream(model="m", contents="Hello")
        return "".join(chunk.text or "" for chunk in chunks)

    return plain, streamed, errors.APIError


@pytest.fixture(scope="module")
def running():
    with stack(ROUTES, SCRIPT, SETTINGS) as running_stack:
        yield running_stack


@pytest.mark.parametrize(
    ("sdk", "route"),
    [
        (_anthropic, "anthropic"),
        (_anthropic, "translated"),
        (_openai, "openai"),
        (_gemini, "gemini"),
    ],
    ids=["anthropic", "translated", "openai", "gemini"],
)
def test_only_what_its_documentation_names_is_seen(running, sdk, route):
    plain, streamed, documented = sdk(running, route)

    def ask(n):
        try:
            text = (streamed if n % 2 else plain)()
        except documented as error:
            return type(error).__name__
        assert len(text.split()) == WORDS, text
        return "whole"

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        seen = collections.Counter(pool.map(ask, range(REQUESTS)))
    print(route, dict(seen))
    assert seen["whole"] > REQUESTS / 2
    until(running.holds_nothing)
