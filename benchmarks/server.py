"""An OpenAI-compatible chat server on loopback that costs next to no CPU: it answers "A".

What a client costs can then be seen beside it on the same cores. Run it by itself, or start it in
a process of its own from a benchmark with `serving()`. `GET /stats` returns what it has counted.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MODEL = re.compile(rb'"model":\s*"([^"]*)"')


class Endpoint:
    """One endpoint: how long it takes, how many calls it serves at once, how often it fails."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Take the settings of the command line."""
        self.args = args
        self.slots = asyncio.Semaphore(args.limit)
        self.luck = random.Random(args.seed)
        self.calls = self.answered = self.busy = self.most_at_once = 0

    async def reply(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and body of the reply to one call."""
        self.calls += 1
        if self.args.record:
            with Path(self.args.record).open("ab") as file:
                file.write(body.replace(b"\n", b" ") + b"\n")
        async with self.slots:
            self.busy += 1
            self.most_at_once = max(self.most_at_once, self.busy)
            await asyncio.sleep(self.args.latency)
            self.busy -= 1
        luck = self.luck.random()
        if luck < self.args.rate_429:
            return 429, {"error": {"message": "rate limit exceeded", "code": 429}}
        if luck < self.args.rate_429 + self.args.rate_500:
            return 500, {"error": {"message": "internal error", "code": 500}}
        self.answered += 1
        found = MODEL.search(body)
        tokens = len(body) // 5
        return 200, {
            "id": f"gen-{self.calls}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": found[1].decode() if found else "",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "A"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1},
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of one connection until the client closes it."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length:\s*(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET"):
                    counted = {
                        name: getattr(self, name) for name in ("calls", "answered", "most_at_once")
                    }
                    status, content = 200, counted
                else:
                    status, content = await self.reply(body)
                payload = json.dumps(content).encode()
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % (status, len(payload))
                )
                writer.write(payload)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def arguments() -> argparse.ArgumentParser:
    """Settings of the endpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds before each reply")
    parser.add_argument("--limit", type=int, default=150, help="calls served at once; others wait")
    parser.add_argument("--rate-429", type=float, default=0.0, help="share of calls refused")
    parser.add_argument("--rate-500", type=float, default=0.0, help="share of calls that fail")
    parser.add_argument("--seed", type=int, default=0, help="of the failures")
    parser.add_argument("--record", help="file that gets the body of every call, a line each")
    return parser


@contextmanager
def serving(**settings: float | str) -> Iterator[str]:
    """Run the server in a process of its own; gives its base URL."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def stats(url: str) -> dict[str, int]:
    """What the server at `url` has counted."""
    with urllib.request.urlopen(f"{url}/stats") as reply:
        counted: dict[str, int] = json.load(reply)
    return counted


async def _main(args: argparse.Namespace) -> None:
    endpoint = Endpoint(args)
    server = await asyncio.start_server(
        endpoint.serve, "127.0.0.1", args.port, limit=1 << 22, backlog=1024
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(arguments().parse_args()))
