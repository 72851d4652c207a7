"""Runs a mock upstream, and a gateway with a configuration made for the test, as the programs they are.

A configuration is told as routes. A route is a user with a key, a group and its accounts; an account's
credential is the name under which the mock upstream's script says how it behaves.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import anthropic

from demo import SLUICE

#: How long anything may take that takes no time, in seconds.
PATIENCE = 30


@dataclasses.dataclass
class Route:
    """A way through the gateway: fields that differ from the usual ones, in the configuration's words."""

    #: The credentials of its accounts; without any, one account whose credential is the route's name.
    keys: list = dataclasses.field(default_factory=list)
    account: dict = dataclasses.field(default_factory=dict)
    user: dict = dataclasses.field(default_factory=dict)


def until(condition):
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)  # Leaves the processor to whom it is waited for.
    return answer


def fetch(url, key=None, method="GET"):
    """The JSON that is there."""
    headers = {"x-api-key": key} if key else {}
    request = urllib.request.Request(url, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as page:
        return json.load(page)


@contextlib.contextmanager
def text_file(text):
    """A file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "it.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        yield path


@contextlib.contextmanager
def nobody():
    """An address at which nobody listens, and nobody can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "http://127.0.0.1:%d" % taken.getsockname()[1]


class Program:
    """A program that runs; what it says is collected, so that it never waits for a reader."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [SLUICE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said, self.logged = [], []
        streams = (self.process.stdout, self.said), (self.process.stderr, self.logged)
        self.readers = [threading.Thread(target=self._collect, args=pair) for pair in streams]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _collect(stream, lines):
        with stream:
            for line in stream:
                lines.append(line)

    def ready(self, lines, of_line):
        """The first that `of_line` makes of a line."""

        def look():
            assert self.process.poll() is None, f"ended at once: {''.join(self.logged)}"
            return next(filter(None, map(of_line, list(lines))), None)

        return until(look)

    def stop(self):
        """Ends it as an operator would; it must end well and have found nothing wrong with itself."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=PATIENCE)
        for reader in self.readers:
            reader.join()
        log = "".join(self.logged)
        assert status == 0, f"ended with {status}: {log[-2000:]}"
        levels = [json.loads(line).get("level") for line in self.logged]
        assert "ERROR" not in levels, log[-2000:]


@contextlib.contextmanager
def running(*arguments):
    """The program, until the end of the block."""
    program = Program(*arguments)
    try:
        yield program
        program.stop()
    finally:
        program.process.kill()


@contextlib.contextmanager
def mock_upstream(*arguments):
    """A mock upstream on a free port: where it is."""
    with running("mock-upstream", "--listen", "127.0.0.1:0", *arguments) as program:
        yield program.ready(program.said, lambda line: json.loads(line)["upstream"])


@dataclasses.dataclass
class Gateway:
    """Where a gateway is, and what can be asked of it."""

    url: str
    admin: str
    upstream: str

    def client(self, route, kind=anthropic.Anthropic, **options):
        """The official client with the route's key. It does not retry unless it is told to."""
        options = {"max_retries": 0, "timeout": PATIENCE, **options}
        return kind(base_url=self.url, api_key=f"sk-{route}", **options)

    def slots(self, kind, name):
        """How many of its slots this gate has given away, and how many requests wait for one."""
        gate = next((g for g in self.gates() if (g["kind"], g["name"]) == (kind, name)), None)
        return (len(gate["held"]), len(gate["waiting"])) if gate else (0, 0)

    def waiting(self):
        """How many requests wait, in whatever line."""
        return sum(len(gate["waiting"]) for gate in self.gates())

    def holds_nothing(self):
        """Whether nobody has a slot and nobody waits."""
        return not any(gate["held"] or gate["waiting"] for gate in self.gates())

    def gates(self):
        """Every gate and line of which there is something to tell."""
        return fetch(f"{self.admin}/debug/gates")["gates"]

    def seen(self, key):
        """What the mock upstream has seen of a key."""
        return fetch(f"{self.upstream}/_mock/stats")["keys"].get(key)

    def release(self, key, n=1):
        """Lets go so many of the requests that the mock upstream holds for a key."""
        fetch(f"{self.upstream}/_mock/release?n={n}", key, "POST")


@contextlib.contextmanager
def gateway(routes, upstream, settings=""):
    """A gateway in front of this upstream. `settings` are further tables of its configuration."""
    with text_file(configuration(routes, upstream, settings)) as path:
        with running("serve", "--config", path) as program:
            serving = program.ready(program.logged, _serving)
            yield Gateway(f"http://{serving['listen']}", f"http://{serving['admin']}", upstream)


@contextlib.contextmanager
def stack(routes, script="", settings=""):
    """A gateway in front of a mock upstream of its own, which behaves as the script says."""
    with text_file(script) as path, mock_upstream("--script", path) as upstream:
        with gateway(routes, upstream, settings) as running_gateway:
            yield running_gateway


def _serving(line):
    record = json.loads(line)
    return record if record.get("message") == "serving" else None


def configuration(routes, upstream, settings):
    """The configuration's text."""
    server = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    tables = ["[server]", *_fields(server), settings]
    for name, route in routes.items():
        key = {"sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest(), "group": name}
        user = {"name": name, "concurrency": 100, "keys": [key], **route.user}
        tables += ["[[groups]]", *_fields({"name": name}), "[[users]]", *_fields(user)]
        for key in route.keys or [name]:
            account = {"name": key, "base_url": upstream, "api_key": key, "concurrency": 100}
            tables += ["[[accounts]]", *_fields({**account, "groups": [name], **route.account})]
    return "\n".join(tables) + "\n"


def _fields(table):
    return [f"{name} = {_toml(value)}" for name, value in table.items()]


def _toml(value):
    """The TOML form of a value; but for tables it is that of JSON."""
    if isinstance(value, dict):
        return "{ %s }" % ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(map(_toml, value))
    return json.dumps(value)
