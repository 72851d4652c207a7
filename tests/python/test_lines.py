"""Who cannot be served at once waits in line; a full line and the end of patience have words of their own.

Each gateway has one slot, which the first request keeps until the test lets it go.
"""

import concurrent.futures
import contextlib

import anthropic
import pytest

from gateway import Route, stack, until
from test_anthropic_sdk import HELLO

SCRIPT = "[keys.held]\nhold = true\n"
OF_USER = {"held": Route(user={"concurrency": 1})}
OF_ACCOUNT = {"held": Route(account={"concurrency": 1})}
LATER = "please retry later"


@contextlib.contextmanager
def taken(routes, policy):
    """A gateway whose slot is taken, and what asks it in the background."""
    with stack(routes, SCRIPT, f"[policy]\n{policy}\n") as running:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:

            def ask(conversation="a first"):
                messages = [{"role": "user", "content": conversation}]
                asked = {**HELLO, "messages": messages}
                return pool.submit(running.client("held").messages.create, **asked)

            first = ask()
            try:
                until(lambda: (running.seen("held") or {}).get("open") == 1)
                yield running, ask
            finally:
                running.release("held", 4)
            assert first.result().stop_reason == "end_turn"


def told(future):
    """What a request was refused with."""
    with pytest.raises(anthropic.RateLimitError) as caught:
        future.result()
    error = caught.value
    assert error.body["error"]["type"] == "rate_limit_error"
    assert error.response.headers["retry-after"] == "2"
    return error.body["error"]["message"]


def test_a_users_full_line():
    with taken(OF_USER, "extra_wait_slots = 1") as (running, ask):
        waits = ask()
        until(lambda: running.slots("user", "held") == (1, 1))
        assert told(ask()) == f"Too many pending requests, {LATER}"
        running.release("held", 2)
        assert waits.result().stop_reason == "end_turn"


def test_the_end_of_patience_in_a_users_line():
    with taken(OF_USER, "user_patience_ms = 50") as (running, ask):
        assert told(ask()) == f"Concurrency limit exceeded for user, {LATER}"
        assert running.slots("user", "held") == (1, 0)


def test_a_full_line_for_the_accounts():
    with taken(OF_ACCOUNT, "fallback_line_max = 1") as (running, ask):
        waits = ask("a second")
        until(lambda: running.waiting() == 1)
        assert told(ask("a third")) == f"Too many pending requests, {LATER}"
        running.release("held", 2)
        assert waits.result().stop_reason == "end_turn"


def test_a_full_line_for_a_sessions_home():
    with taken(OF_ACCOUNT, 'sticky_line_max = 1\nsticky_full = "reject"') as (running, ask):
        waits = ask()
        until(lambda: running.slots("account", "held") == (1, 1))
        assert told(ask()) == f"Too many pending requests, {LATER}"
        running.release("held", 2)
        assert waits.result().stop_reason == "end_turn"


def test_the_end_of_patience_in_a_line_for_the_accounts():
    with taken(OF_ACCOUNT, "fallback_patience_ms = 50") as (running, ask):
        assert told(ask("a second")) == f"Concurrency limit exceeded for account, {LATER}"
        assert (running.slots("account", "held"), running.waiting()) == ((1, 0), 0)


def test_with_the_preset_that_polls_who_waits_is_served_too():
    with taken(OF_ACCOUNT, 'preset = "seed"') as (running, ask):
        waits = ask("a second")
        until(lambda: running.waiting() == 1)
        running.release("held", 2)
        assert waits.result().stop_reason == "end_turn"
