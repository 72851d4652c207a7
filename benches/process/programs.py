"""Runs the release build's programs for a measurement, on free ports."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLUICE = os.environ.get("SLUICE") or str(ROOT / "target" / "release" / "sluice")


@contextlib.contextmanager
def mock(script):
    """A mock upstream with this script: its process and where it listens."""
    with file_of(script) as path:
        command = [SLUICE, "mock-upstream", "--listen", "127.0.0.1:0", "--script", path]
        with process(command, stdout=subprocess.PIPE, text=True) as running:
            where = json.loads(running.stdout.readline())["upstream"]
            yield running, where.removeprefix("http://")


@contextlib.contextmanager
def gateway(configuration):
    """A gateway with this configuration: its process and where it listens."""
    with file_of(configuration) as path:
        command = [SLUICE, "serve", "--config", path]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with process(command, **pipes) as running:
            for line in running.stderr:
                entry = json.loads(line)
                if "listen" in entry:
                    yield running, entry["listen"]
                    return
            raise RuntimeError("the gateway has ended")


@contextlib.contextmanager
def process(command, **pipes):
    with subprocess.Popen(command, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


@contextlib.contextmanager
def file_of(text):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        yield file.name


def user(name, concurrency, group):
    digest = hashlib.sha256(key(name).encode()).hexdigest()
    return (
        f'[[users]]\nname = "{name}"\nconcurrency = {concurrency}\n'
        f'keys = [{{ sha256 = "{digest}", group = "{group}" }}]\n'
    )


def account(name, upstream, concurrency, group):
    return (
        f'[[accounts]]\nname = "{name}"\nbase_url = "http://{upstream}"\napi_key = "{name}"\n'
        f'concurrency = {concurrency}\ngroups = ["{group}"]\n'
    )


def key(name):
    return f"sk-{name}"


def request(host, name, body):
    head = (
        f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key(name)}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def pss_mib(pid):
    """Proportional memory of a process, in MiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("no such process")
