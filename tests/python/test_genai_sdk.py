"""Google's official SDK talks to the gateway as it would to the upstream: the Gemini protocol."""

import pytest
from google import genai
from google.genai import errors, types

from gateway import PATIENCE, Route, stack

MODEL = "gemini-test"
GEMINI = {"platform": "gemini"}
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}},
        )
    ]
)

SCRIPT = """
[keys.plain]
greeting = "I am plain."
words = 12

[keys.slow]
latency_ms = 500

[keys.limited]
faults = [{ kind = "status", status = 429, retry_after_s = 7 }]

[keys.torn]
faults = [{ kind = "torn", after_events = 3 }]
"""
ROUTES = {
    "plain": Route(account=GEMINI),
    "slow": Route(account=GEMINI),
    "limited": Route(account=GEMINI),
    "torn": Route(account=GEMINI),
    "mapped": Route(account={**GEMINI, "models": {MODEL: "vendor-7"}}),
    "poor": Route(user={"balance_cents": 0}, account=GEMINI),
    "claude": Route(),
}


@pytest.fixture(scope="module")
def running():
    with stack(ROUTES, SCRIPT, "[policy]\nping_interval_ms = 50\n") as running_stack:
        yield running_stack


#: A client that nobody holds closes itself, though its models are in use.
CLIENTS = []


def models(running, route):
    options = types.HttpOptions(base_url=running.url, timeout=PATIENCE * 1000)
    CLIENTS.append(genai.Client(api_key=f"sk-{route}", http_options=options))
    return CLIENTS[-1].models


def test_a_plain_answer(running):
    answer = models(running, "plain").generate_content(model=MODEL, contents="Hello")
    assert answer.text.startswith("I am plain.")
    assert answer.usage_metadata.candidates_token_count == 12
    assert answer.model_version == MODEL


def test_a_streamed_answer(running):
    chunks = list(models(running, "plain").generate_content_stream(model=MODEL, contents="Hello"))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) == 12 and "".join(pieces).startswith("I am plain.")
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


def test_a_stream_that_has_been_waited_for(running):
    chunks = list(models(running, "slow").generate_content_stream(model=MODEL, contents="Hello"))
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


def test_a_tool_is_called(running):
    mode = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY"))
    config = types.GenerateContentConfig(tools=[WEATHER], tool_config=mode)
    answer = models(running, "plain").generate_content(model=MODEL, contents="Hello", config=config)
    (call,) = answer.function_calls
    assert (call.name, call.args) == ("weather", {"city": "river"})


def test_tokens_are_counted(running):
    assert models(running, "plain").count_tokens(model=MODEL, contents="Hello").total_tokens > 0


def test_the_clients_name_of_the_model_is_kept(running):
    answer = models(running, "mapped").generate_content(model=MODEL, contents="Hello")
    assert answer.model_version == MODEL


@pytest.mark.parametrize(
    ("route", "error", "code", "status"),
    [
        ("nobody", errors.ClientError, 401, "UNAUTHENTICATED"),
        ("poor", errors.ClientError, 403, "PERMISSION_DENIED"),
        ("limited", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("claude", errors.ClientError, 400, "INVALID_ARGUMENT"),
    ],
)
def test_an_error_is_the_class_that_its_documentation_names(running, route, error, code, status):
    with pytest.raises(error) as caught:
        models(running, route).generate_content(model=MODEL, contents="Hello")
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.message


def test_a_stream_that_breaks_off_is_an_error(running):
    with pytest.raises(errors.APIError, match="broke off"):
        list(models(running, "torn").generate_content_stream(model=MODEL, contents="Hello"))
