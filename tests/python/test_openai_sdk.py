"""OpenAI's official SDK talks to the gateway as it would to the upstream: the Responses protocol."""

import json

import openai
import pytest

from gateway import PATIENCE, Route, stack

HELLO = {"model": "gpt-test", "input": "Hello"}
TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
OPENAI = {"platform": "openai"}

SCRIPT = """
[keys.plain]
greeting = "I am plain."
words = 12

[keys.limited]
faults = [{ kind = "status", status = 429, retry_after_s = 7 }]

[keys.torn]
faults = [{ kind = "torn", after_events = 8 }]
"""
ROUTES = {
    "plain": Route(account=OPENAI),
    "limited": Route(account=OPENAI),
    "torn": Route(account=OPENAI),
    "mapped": Route(account={**OPENAI, "models": {"gpt-test": "vendor-7"}}),
    "poor": Route(user={"balance_cents": 0}, account=OPENAI),
    "claude": Route(),
}


@pytest.fixture(scope="module")
def running():
    with stack(ROUTES, SCRIPT) as running_stack:
        yield running_stack


def client(running, route):
    return openai.OpenAI(
        base_url=f"{running.url}/v1", api_key=f"sk-{route}", max_retries=0, timeout=PATIENCE
    )


def test_a_plain_response(running):
    answer = client(running, "plain").responses.create(**HELLO)
    assert answer.output_text.startswith("I am plain.")
    assert (answer.status, answer.model) == ("completed", "gpt-test")
    assert answer.usage.output_tokens == 12


def test_a_streamed_response(running):
    events = list(client(running, "plain").responses.create(**HELLO, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) == 12 and "".join(pieces) == events[-1].response.output_text


def test_the_stream_helper_puts_it_together(running):
    with client(running, "plain").responses.stream(**HELLO) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_response()
    assert answer.output_text.startswith("I am plain.")


def test_a_tool_is_called_plain_and_streaming(running):
    demanded = {**HELLO, "tools": TOOLS, "tool_choice": "required"}
    api = client(running, "plain").responses
    (call,) = api.create(**demanded).output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", {"city": "river"})
    events = list(api.create(**demanded, stream=True))
    kind = "response.function_call_arguments.delta"
    pieces = [event.delta for event in events if event.type == kind]
    assert len(pieces) > 1 and "".join(pieces) == call.arguments


def test_the_clients_name_of_the_model_is_kept(running):
    api = client(running, "mapped").responses
    assert api.create(**HELLO).model == "gpt-test"
    events = list(api.create(**HELLO, stream=True))
    assert events[-1].response.model == "gpt-test"


@pytest.mark.parametrize(
    ("route", "error", "status"),
    [
        ("nobody", openai.AuthenticationError, 401),
        ("poor", openai.PermissionDeniedError, 403),
        ("limited", openai.RateLimitError, 429),
        ("claude", openai.BadRequestError, 400),
    ],
)
def test_an_error_is_the_class_that_its_documentation_names(running, route, error, status):
    with pytest.raises(error) as caught:
        client(running, route).responses.create(**HELLO)
    assert caught.value.status_code == status
    assert caught.value.request_id and caught.value.body["message"]


def test_a_stream_that_breaks_off_is_an_error(running):
    with pytest.raises(openai.APIError, match="broke off"):
        list(client(running, "torn").responses.create(**HELLO, stream=True))
