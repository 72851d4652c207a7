"""Runs `sluice demo` for a test and says where it is."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: The program under test; $SLUICE names another one.
SLUICE = os.environ.get("SLUICE") or str(
    ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "sluice"
)


@contextlib.contextmanager
def demo():
    """A demo on free ports: the object of its first line, and all lines that follow it."""
    with subprocess.Popen(
        [SLUICE, "demo", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            where = json.loads(process.stdout.readline())
            guide = []
            for line in process.stdout:
                guide.append(line.rstrip("\n"))
                if "Stop with" in line:
                    break
            yield where, guide
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=20)
            assert process.returncode == 0, f"ended with {process.returncode}: {log[-2000:]}"
            lines = [json.loads(line) for line in log.splitlines()]
            # Lines of the access log have no level.
            assert not [line for line in lines if line.get("level") == "ERROR"], log[-2000:]
        finally:
            process.kill()
