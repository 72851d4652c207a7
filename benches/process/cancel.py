"""How soon an upstream notices that a client has left in the middle of its stream.

    cargo build --release && python3 benches/process/cancel.py [CLIENTS]

Clients (1000) of twenty accounts stream, and leave one after the other at random moments. The mock
upstream writes down when it notices each; an account's clients leave further apart than it takes.
"""

import asyncio
import json
import random
import sys
import time
import urllib.request

from programs import account, gateway, mock, request, user

CLIENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
ROUTES = 20
#: Seconds in which all leave.
SPAN = 10.0
BODY = json.dumps({"model": "m", "max_tokens": 9, "stream": True, "messages": []}).encode()


def left(upstream):
    """Departures as the mock noted them, by key, on this program's clock in seconds."""
    before = time.monotonic()
    with urllib.request.urlopen(f"http://{upstream}/_mock/left") as answer:
        now = (before + time.monotonic()) / 2
        page = json.load(answer)
    by_key = {}
    for one in page["left"]:
        by_key.setdefault(one["key"], []).append(now - (page["now_ms"] - one["at_ms"]) / 1000)
    return by_key


async def stream(listen, name):
    host, port = listen.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(listen, name, BODY))
    await reader.readuntil(b"content_block_delta")
    return reader, writer


async def drink(reader):
    while await reader.read(65536):
        pass


async def leave_all(listen, names):
    streams = []
    for first in range(0, CLIENTS, 50):
        some = range(first, min(first + 50, CLIENTS))
        streams += await asyncio.gather(*(stream(listen, names[n % ROUTES]) for n in some))
    readers = [asyncio.ensure_future(drink(reader)) for reader, _ in streams]
    start, step, gone = time.monotonic(), SPAN / CLIENTS, {name: [] for name in names}
    for n, (_, writer) in enumerate(streams):
        due = start + n * step + random.uniform(0, step / 2)
        await asyncio.sleep(max(0, due - time.monotonic()))
        gone[names[n % ROUTES]].append(time.monotonic())
        writer.transport.abort()
    for reader in readers:
        reader.cancel()
    return gone


def main():
    names = [f"a{n}" for n in range(ROUTES)]
    with mock("[default]\nwords = 100000\npace_ms = 500\n") as (_, upstream):
        text = '[server]\nlisten = "127.0.0.1:0"\n'
        for name in names:
            text += f'[[groups]]\nname = "{name}"\n'
        for name in names:
            text += user(name, '"unlimited"', name) + account(name, upstream, '"unlimited"', name)
        with gateway(text) as (_, listen):
            gone = asyncio.run(leave_all(listen, names))
            deadline = time.monotonic() + 30
            while sum(map(len, (noted := left(upstream)).values())) < CLIENTS:
                assert time.monotonic() < deadline, "not all departures were noticed"
                time.sleep(0.1)
    pairs = [pair for name in names for pair in zip(gone[name], sorted(noted[name]))]
    delays = sorted((seen - at) * 1000 for at, seen in pairs)
    at = lambda part: delays[min(len(delays) - 1, int(len(delays) * part))]
    print(f"{len(delays)} clients left; noticed after p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, "
          f"at most {delays[-1]:.1f} ms")


if __name__ == "__main__":
    main()
