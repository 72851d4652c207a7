"""What the bodies of waiting requests take.

    cargo build --release && python3 benches/process/parked.py [PARKED_MIB]

200 users, each with one request that runs and 20 of 1 MB that wait, against a bound on all bodies
(512 MiB). Prints how the requests were answered, and the most memory that the gateway took.
"""

import asyncio
import collections
import json
import sys

from programs import account, gateway, mock, pss_mib, request, user

PARKED_MIB = int(sys.argv[1]) if len(sys.argv) > 1 else 512
USERS, WAITING = 200, 20
BODY = json.dumps(
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 1_000_000}]}
).encode()


async def ask(listen, name, answers):
    host, port = listen.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(listen, name, BODY))
    head = await reader.readuntil(b"\r\n\r\n")
    answers[head.split(b" ", 2)[1].decode()] += 1
    writer.close()


async def wait_all(listen, process):
    answers, peak = collections.Counter(), 0.0
    idle = pss_mib(process.pid)
    all_of_them = [
        asyncio.ensure_future(ask(listen, f"u{n}", answers))
        for _ in range(1 + WAITING)
        for n in range(USERS)
    ]
    while not all(one.done() for one in all_of_them):
        await asyncio.sleep(0.1)
        peak = max(peak, pss_mib(process.pid))
    await asyncio.gather(*all_of_them)
    return answers, idle, peak


def main():
    # What runs is held for longer than anybody waits.
    with mock("[default]\nlatency_ms = 20000\n") as (_, upstream):
        text = (
            '[server]\nlisten = "127.0.0.1:0"\n[[groups]]\nname = "g"\n'
            f"[limits]\nbody_bytes_max = 2000000\nparked_bytes_max = {PARKED_MIB << 20}\n"
            "[policy]\nuser_patience_ms = 10000\n"
        )
        text += "".join(user(f"u{n}", 1, "g") for n in range(USERS))
        text += account("a", upstream, '"unlimited"', "g")
        with gateway(text) as (process, listen):
            answers, idle, peak = asyncio.run(wait_all(listen, process))
    print(f"answers by status {dict(answers)}; idle {idle:.0f} MiB, at most {peak:.0f} MiB, "
          f"{(peak - idle) / PARKED_MIB:.2f} of parked_bytes_max")


if __name__ == "__main__":
    main()
