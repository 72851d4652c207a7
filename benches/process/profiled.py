"""Builds the gateway for what it does: once to see that, under load, and once more knowing it.

    python3 benches/process/profiled.py

leaves target/profiled/sluice. Needs the compiler's llvm-profdata (`rustup component add llvm-tools`), or
another of its version, named by LLVM_PROFDATA. Where there is an llvm-bolt, on the path or named by
LLVM_BOLT, it lays out the program's parts anew in the end, after another run under load.
"""

import asyncio
import json
import os
import pathlib
import shutil
import subprocess

import programs
from programs import ROOT, account, gateway, mock, request, user

TARGET = ROOT / "target" / "profiled"
PROFILES = TARGET / "profiles"
#: Requests, and how many clients send them.
REQUESTS = 20_000
CLIENTS = 64
TURN = "fn step(&mut self) -> Result<u32> {\n\tlet y = self.get(\"k\")?;\n\tOk(y)\n}\n"


def told(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def host():
    lines = told(["rustc", "-vV"]).splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def tool(variable, otherwise):
    """The program that this variable names; if it names none, the other one, if it is there."""
    named = os.environ.get(variable)
    if named and not shutil.which(named):
        raise SystemExit(f"{variable}={named}: there is no such program")
    return shutil.which(named or otherwise)


def build(flags):
    """A release build with these flags for the compiler: its program."""
    # In other names stands `..warmup..`, and llvm-bolt takes `.warm` for the mark of a part of a function.
    flags = f"-Csymbol-mangling-version=v0 {flags}"
    command = ["cargo", "build", "--release", "--target", host(), "--target-dir", str(TARGET)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "RUSTFLAGS": flags})
    return TARGET / host() / "release" / "sluice"


def body(size, stream):
    content = TURN * (size // len(TURN))
    message = {"role": "user", "content": content}
    return json.dumps({"model": "m", "max_tokens": 9, "stream": stream, "messages": [message]}).encode()


async def client(listen, bodies):
    where, port = listen.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(where, int(port))
    for one in bodies:
        writer.write(request(listen, "u", one))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        if b"transfer-encoding: chunked" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length[15:]))
    writer.close()


async def load(listen):
    small, large, stream = body(1_000, False), body(100_000, False), body(1_000, True)
    # Mostly small ones, as most of the work that is not copying comes with them.
    bodies = ([small] * 8 + [large] + [stream]) * (REQUESTS // CLIENTS // 10)
    await asyncio.gather(*(client(listen, bodies) for _ in range(CLIENTS)))


def train(program):
    """Runs it under load; it leaves a profile when it ends."""
    programs.SLUICE = str(program)
    with mock("[default]\nwords = 50\n") as (_, upstream):
        configuration = (
            '[server]\nlisten = "127.0.0.1:0"\n[log]\naccess = "stdout"\n[[groups]]\nname = "g"\n'
            + user("u", 1000, "g")
            + account("a", upstream, 1000, "g")
        )
        with gateway(configuration) as (running, listen):
            asyncio.run(load(listen))
            running.terminate()
            running.wait()


def profiled(merge, flags):
    """A build that knows how often each part of it runs."""
    shutil.rmtree(PROFILES, ignore_errors=True)
    train(build(f"-Cprofile-generate={PROFILES}"))
    merged = TARGET / "merged.profdata"
    written = [str(path) for path in PROFILES.glob("*.profraw")]
    subprocess.run([merge, "merge", "-o", str(merged), *written], check=True)
    return build(f"-Cprofile-use={merged} {flags}")


def laid_out(bolt, program, out):
    """Writes the same program, with what runs one after the other side by side."""
    counting, counts = TARGET / "counting", TARGET / "counts.fdata"
    counts.unlink(missing_ok=True)
    count = ["-instrument", f"-instrumentation-file={counts}", "-o", str(counting)]
    subprocess.run([bolt, str(program), *count], check=True)
    train(counting)
    lay_out = ["-reorder-blocks=ext-tsp", "-reorder-functions=cdsort", "-split-functions", "-split-all-cold"]
    command = [bolt, str(program), f"-data={counts}", *lay_out, "-update-debug-sections"]
    subprocess.run([*command, "-o", str(out)], check=True)


def main():
    libraries = pathlib.Path(told(["rustc", "--print", "target-libdir"]).strip())
    merge = tool("LLVM_PROFDATA", str(libraries.parent / "bin" / "llvm-profdata"))
    if not merge:
        raise SystemExit("llvm-profdata is missing: rustup component add llvm-tools")
    bolt, out = tool("LLVM_BOLT", "llvm-bolt"), TARGET / "sluice"
    if bolt:
        # It moves what it knows the references to.
        laid_out(bolt, profiled(merge, "-Clink-arg=-Wl,--emit-relocs"), out)
    else:
        print("llvm-bolt is missing: the program is not laid out anew")
        shutil.copy(profiled(merge, ""), out)
    print(out)


if __name__ == "__main__":
    main()
