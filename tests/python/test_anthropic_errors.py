"""Whatever goes wrong, the official SDK raises the error class that it has for it."""

import concurrent.futures

import anthropic
import httpx
import pytest

from gateway import Gateway, Route, gateway, nobody, stack, until
from test_anthropic_sdk import HELLO

#: How each key fails, in the words of the mock upstream's script.
FAULTS = {
    "bad": 'kind = "status", status = 400',
    "no-such-model": 'kind = "status", status = 404',
    "in-conflict": 'kind = "status", status = 409',
    "upstream-limit": 'kind = "status", status = 413',
    "unprocessable": 'kind = "status", status = 422',
    "unusual": 'kind = "status", status = 400, error = "timeout_error"',
    "limited-1": 'kind = "status", status = 429, retry_after_s = 9',
    "limited-2": 'kind = "status", status = 429, retry_after_s = 7',
    "refuses-key": 'kind = "status", status = 401',
    "forbids-key": 'kind = "status", status = 403',
    "broken": 'kind = "status", status = 500',
    "overloaded": 'kind = "status", status = 529, retry_after_s = 11',
    "page": 'kind = "html"',
    "elsewhere": 'kind = "redirect", location = "http://127.0.0.1:1/"',
    "hangs-up": 'kind = "reset"',
    "half": 'kind = "torn"',
    "stalls": 'kind = "stall"',
    "stalls-later": 'kind = "stall", after_events = 5',
    "torn": 'kind = "torn", after_events = 5',
    "truncated": 'kind = "truncated", after_events = 5',
    "gives-up": 'kind = "error_event", error = "overloaded_error", after_events = 5',
    "gives-up-at-once": 'kind = "error_event", error = "overloaded_error"',
}
SCRIPT = "".join(f"[keys.{key}]\nfaults = [{{ {fault} }}]\n" for key, fault in FAULTS.items())
SCRIPT += "[keys.held]\nhold = true\n"
ROUTES = {
    **{key: Route() for key in FAULTS if not key.startswith("limited")},
    "fine": Route(),
    "limited": Route(keys=["limited-1", "limited-2"]),
    "held": Route(user={"concurrency": 1}),
    "poor": Route(user={"balance_cents": 0}),
    "shut-out": Route(user={"concurrency": "closed"}),
}

SAYS_SO = "the upstream says so"
LATER = "please retry later"
#: Route, class, status, error type, message, retry-after.
REFUSALS = [
    ("bad", anthropic.BadRequestError, 400, "invalid_request_error", SAYS_SO, None),
    ("no-such-model", anthropic.NotFoundError, 404, "not_found_error", SAYS_SO, None),
    ("in-conflict", anthropic.ConflictError, 409, "invalid_request_error", SAYS_SO, None),
    ("upstream-limit", anthropic.RequestTooLargeError, 413, "request_too_large", SAYS_SO, None),
    ("unprocessable", anthropic.UnprocessableEntityError, 422, "invalid_request_error", SAYS_SO, None),
    ("unusual", anthropic.BadRequestError, 400, "timeout_error", SAYS_SO, None),
    ("limited", anthropic.RateLimitError, 429, "rate_limit_error", LATER, "7"),
    ("refuses-key", anthropic.InternalServerError, 502, "upstream_error", "authentication failed", None),
    ("forbids-key", anthropic.InternalServerError, 502, "upstream_error", "access forbidden", None),
    ("broken", anthropic.InternalServerError, 502, "upstream_error", "temporarily unavailable", None),
    ("overloaded", anthropic.InternalServerError, 503, "overloaded_error", LATER, "11"),
    ("elsewhere", anthropic.InternalServerError, 502, "upstream_error", "temporarily unavailable", None),
    ("hangs-up", anthropic.InternalServerError, 502, "upstream_error", "temporarily unavailable", None),
    ("page", anthropic.InternalServerError, 502, "upstream_error", "temporarily unavailable", None),
    ("poor", anthropic.PermissionDeniedError, 403, "billing_error", "balance", None),
    ("shut-out", anthropic.PermissionDeniedError, 403, "permission_error", "not active", None),
]


@pytest.fixture(scope="module")
def running():
    # Failures close no account: each test meets its route as the first one did.
    policy = "[policy]\nextra_wait_slots = 0\nfailures_to_eject = 1000\n"
    with stack(ROUTES, SCRIPT, policy) as running_stack:
        yield running_stack


def refused(client, kind, **changes):
    """The error that a request ends with, after what all errors have in common was looked at."""
    with pytest.raises(kind) as caught:
        client.messages.create(**{**HELLO, **changes})
    error = caught.value
    assert type(error) is kind
    assert error.body["type"] == "error"
    assert error.response.headers["content-type"] == "application/json"
    assert error.response.headers["x-request-id"].startswith("req_")
    assert error.request_id.startswith("req_")
    return error


def type_and_message(error):
    return error.body["error"]["type"], error.body["error"]["message"]


def ask_streaming(running, route):
    """Asks for a stream and reads it to its end: the text that came, and the error."""
    text = ""
    with pytest.raises(anthropic.APIStatusError) as caught:
        with running.client(route).messages.stream(**HELLO) as stream:
            for piece in stream.text_stream:
                text += piece
    return text, caught.value


@pytest.mark.parametrize("row", REFUSALS, ids=[row[0] for row in REFUSALS])
def test_every_refusal_has_its_class(running, row):
    route, kind, status, type_, message, retry_after = row
    error = refused(running.client(route), kind)
    assert error.status_code == status
    assert type_and_message(error)[0] == type_
    assert message in type_and_message(error)[1]
    assert error.response.headers.get("retry-after") == retry_after


STATUS_OF_STREAM = {"bad": 400, "poor": 403, "hangs-up": 502, "page": 502, "gives-up-at-once": 503}


@pytest.mark.parametrize("route", STATUS_OF_STREAM)
def test_a_stream_that_does_not_begin_is_refused_like_a_plain_request(running, route):
    text, error = ask_streaming(running, route)
    assert (text, error.status_code) == ("", STATUS_OF_STREAM[route])
    assert error.response.headers["content-type"] == "application/json"


def test_a_wrong_key(running):
    error = refused(running.client("nobody"), anthropic.AuthenticationError)
    assert type_and_message(error) == ("authentication_error", "Invalid API key")


def test_what_the_gateway_itself_does_not_understand(running):
    error = refused(running.client("fine"), anthropic.BadRequestError, model="")
    assert type_and_message(error) == ("invalid_request_error", "model is required")
    error = refused(running.client("fine"), anthropic.BadRequestError, model=7)
    assert type_and_message(error) == ("invalid_request_error", "Failed to parse request body")
    assert running.seen("fine") is None


@pytest.mark.parametrize("size", [70_000, 8_000_000])
def test_a_body_beyond_the_limit(size):
    limit = "[limits]\nbody_bytes_max = 65536\n"
    body = [{"role": "user", "content": "x" * size}]
    with nobody() as url, gateway({"alone": Route()}, url, limit) as running_gateway:
        client = running_gateway.client("alone")
        error = refused(client, anthropic.RequestTooLargeError, messages=body)
    assert error.status_code == 413
    assert type_and_message(error)[1] == "Request body too large, limit is 65536B"


def test_a_path_that_is_not_served(running):
    with pytest.raises(anthropic.NotFoundError) as caught:
        running.client("fine").messages.batches.list()
    assert type_and_message(caught.value) == ("not_found_error", "Not found")


def test_a_plain_answer_that_breaks_off_is_no_answer(running):
    error = refused(running.client("half"), anthropic.InternalServerError)
    assert (error.status_code, type_and_message(error)[0]) == (502, "upstream_error")


def test_a_full_user_line(running):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.client("held").messages.create, **HELLO)
        until(lambda: (running.seen("held") or {}).get("open") == 1)
        error = refused(running.client("held"), anthropic.RateLimitError)
        running.release("held")
        assert first.result().stop_reason == "end_turn"
    assert type_and_message(error) == ("rate_limit_error", f"Too many pending requests, {LATER}")
    assert error.response.headers["retry-after"] == "2"


def test_an_upstream_at_which_nobody_listens():
    with nobody() as url, gateway({"alone": Route()}, url) as running_gateway:
        error = refused(running_gateway.client("alone"), anthropic.InternalServerError)
    assert (error.status_code, type_and_message(error)[0]) == (502, "upstream_error")


def test_a_gateway_that_is_not_there():
    with nobody() as url, pytest.raises(anthropic.APIConnectionError) as caught:
        Gateway(url, "", "").client("fine").messages.create(**HELLO)
    assert not isinstance(caught.value, anthropic.APITimeoutError)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_client_that_gives_up_leaves_nothing_behind(running, stream):
    with pytest.raises(anthropic.APITimeoutError):
        running.client("stalls", timeout=0.2).messages.create(**HELLO, stream=stream)
    until(running.holds_nothing)
    until(lambda: running.seen("stalls")["open"] == 0)


def test_a_client_that_gives_up_within_a_stream_leaves_nothing_behind(running):
    text = ""
    with pytest.raises(httpx.ReadTimeout):
        with running.client("stalls-later", timeout=0.2).messages.stream(**HELLO) as stream:
            for piece in stream.text_stream:
                text += piece
    assert text.startswith("Hello")
    until(running.holds_nothing)
    until(lambda: running.seen("stalls-later")["open"] == 0)


@pytest.mark.parametrize("route", ["torn", "truncated"])
def test_a_stream_that_breaks_off_raises_within(running, route):
    text, error = ask_streaming(running, route)
    assert text.startswith("Hello"), "what had come was given out"
    assert type_and_message(error) == ("upstream_error", "The upstream's answer broke off")


def test_an_upstream_that_gives_up_within_a_stream_is_quoted(running):
    text, error = ask_streaming(running, "gives-up")
    assert text.startswith("Hello")
    assert type_and_message(error) == ("overloaded_error", SAYS_SO)
