"""What the official SDKs ask beside answers, and messages that are served by another protocol's account."""

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gateway import PATIENCE, Route, stack

GEMINI = {"platform": "gemini"}
SCRIPT = """
[keys.claude]
greeting = "I am claude."

[keys.translated]
greeting = "I am translated."
words = 12

[keys.wrapped]
greeting = "I am wrapped."
words = 12
"""
MESSAGES = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
NAMED = {"claude-test": "gemini-up"}
ROUTES = {
    "claude": Route(),
    "gpt": Route(account={"platform": "openai"}),
    "gemini": Route(account=GEMINI),
    "translated": Route(account={**GEMINI, "models": NAMED}),
    "wrapped": Route(account={**GEMINI, "models": NAMED, "project": "p-1"}),
}
SERVED = ["translated", "wrapped"]


@pytest.fixture(scope="module")
def running():
    with stack(ROUTES, SCRIPT) as running_stack:
        yield running_stack


def claude(running, route):
    return anthropic.Anthropic(
        base_url=running.url, api_key=f"sk-{route}", timeout=PATIENCE, max_retries=0
    )


@pytest.mark.parametrize("route", ["claude", *SERVED])
def test_tokens_are_counted(running, route):
    counted = claude(running, route).messages.count_tokens(model="claude-test", messages=MESSAGES)
    assert counted.input_tokens > 0


@pytest.mark.parametrize("route", SERVED)
def test_a_plain_message_is_translated(running, route):
    answer = claude(running, route).messages.create(
        model="claude-test", max_tokens=64, messages=MESSAGES
    )
    assert answer.content[0].text.startswith(f"I am {route}.")
    assert (answer.model, answer.stop_reason) == ("claude-test", "end_turn")
    assert answer.usage.output_tokens == 12


@pytest.mark.parametrize("route", SERVED)
def test_a_stream_is_translated(running, route):
    request = {"model": "claude-test", "max_tokens": 64, "messages": MESSAGES}
    with claude(running, route).messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == answer.content[0].text and text.startswith(f"I am {route}.")
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 12)


@pytest.mark.parametrize("route", SERVED)
def test_a_tool_is_called_in_translation(running, route):
    request = {"model": "claude-test", "max_tokens": 64, "messages": MESSAGES, "tools": TOOLS}
    request["tool_choice"] = {"type": "any"}
    with claude(running, route).messages.stream(**request) as stream:
        streamed = stream.get_final_message()
    for answer in [claude(running, route).messages.create(**request), streamed]:
        (call,) = answer.content
        assert (call.type, call.name, call.input) == ("tool_use", "weather", {"city": "river"})
        assert answer.stop_reason == "tool_use"


def test_models_are_listed_to_clients_of_each_protocol(running):
    names = [model.id for model in claude(running, "claude").models.list()]
    assert names == ["claude-mock-large", "claude-mock-small"]
    assert claude(running, "claude").models.retrieve(names[0]).id == names[0]
    assert [model.id for model in claude(running, "translated").models.list()] == ["claude-test"]
    gpt = openai.OpenAI(base_url=f"{running.url}/v1", api_key="sk-gpt", timeout=PATIENCE)
    assert [model.id for model in gpt.models.list()] == ["gpt-mock-large", "gpt-mock-small"]
    options = types.HttpOptions(base_url=running.url, timeout=PATIENCE * 1000)
    client = genai.Client(api_key="sk-gemini", http_options=options)
    names = [model.name for model in client.models.list()]
    assert names == ["models/gemini-mock-large", "models/gemini-mock-small"]
    assert client.models.get(model="gemini-mock-large").name == names[0]
