"""How soon a freed slot runs its next request, on whichever of two gateways that waits.

    cargo build --release && python3 benches/process/handover.py [SLOTS [ROUNDS]]

Needs a redis-server. One account has SLOTS (1); at each gateway there are always as many clients that
wait. The upstream is this program: it notes when an answer ends that leaves a slot free, and when the
next request comes.
"""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from programs import account, gateway, process, request, user

SLOTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
#: Seconds that an answer takes.
ANSWER = 0.02
BODY = json.dumps({"model": "m", "max_tokens": 9, "messages": []}).encode()
TOLD = json.dumps({"type": "message", "content": [], "usage": {"output_tokens": 1}})
HEAD = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(TOLD)}\r\n\r\n"


class Upstream:
    """Answers in its time, and notes how long each slot was free."""

    def __init__(self):
        self.freed, self.gaps, self.open, self.most = [], [], 0, 0

    async def serve(self, reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            if self.freed:
                self.gaps.append(time.monotonic() - self.freed.pop(0))
            self.open += 1
            self.most = max(self.most, self.open)
            await asyncio.sleep(ANSWER)
            self.open -= 1
            self.freed.append(time.monotonic())
            writer.write((HEAD + TOLD).encode())

    async def served(self, reader, writer):
        # A gateway that has ended, or the end of the measurement.
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(reader, writer)


async def ask(listen, name):
    host, port = listen.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    while True:
        writer.write(request(listen, name, BODY))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(len(TOLD))


def configuration(name, upstream, store):
    text = f'[server]\nname = "{name}"\nlisten = "127.0.0.1:0"\nstore = "{store}"\n'
    text += '[log]\naccess = "off"\n[[groups]]\nname = "g"\n'
    return text + user("u", '"unlimited"', "g") + account("a", upstream, SLOTS, "g")


async def measure():
    upstream = Upstream()
    server = await asyncio.start_server(upstream.served, "127.0.0.1", 0)
    where = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        socket = pathlib.Path(folder, "socket")
        redis = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]
        with process(redis, stdout=subprocess.DEVNULL):
            while not socket.exists():
                await asyncio.sleep(0.01)
            store = f"redis+unix://{socket}"
            one, two = (configuration(name, where, store) for name in ("one", "two"))
            both = await asyncio.gather(*(asyncio.to_thread(enter, text) for text in (one, two)))
            clients = [
                asyncio.ensure_future(ask(listen, "u"))
                for _, (_, listen) in both
                for _ in range(2 * SLOTS)
            ]
            while len(upstream.gaps) < ROUNDS:
                await asyncio.sleep(0.05)
                for client in clients:
                    assert not client.done(), client.exception()
            for client in clients:
                client.cancel()
            for context, _ in both:
                context.__exit__(None, None, None)
    return upstream


def enter(text):
    context = gateway(text)
    return context, context.__enter__()


def main():
    upstream = asyncio.run(measure())
    gaps = sorted(gap * 1000 for gap in upstream.gaps[:ROUNDS])
    at = lambda share: gaps[min(int(share * len(gaps)), len(gaps) - 1)]
    print(f"{len(gaps)} slots handed over, {upstream.most} open at most of {SLOTS}: ", end="")
    print(f"median {at(0.5):.2f} ms, p99 {at(0.99):.2f} ms, at most {gaps[-1]:.2f} ms")


if __name__ == "__main__":
    main()
