"""`sluice mock-upstream` as a program: how it starts, what it tells, how it stops."""

import socket
import subprocess
import unittest

import anthropic

from demo import SLUICE
from gateway import fetch, mock_upstream, text_file


def fails(*arguments):
    """What a start that must fail says."""
    command = [SLUICE, "mock-upstream", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done
    return done.stderr


TOOLS = [
    {
        "name": "weather",
        "description": "The weather.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


class MockUpstream(unittest.TestCase):
    def test_without_a_script_any_key_is_answered_and_counted(self):
        with mock_upstream() as base:
            client = anthropic.Anthropic(base_url=base, api_key="any", max_retries=0)
            self.assertEqual(client.messages.create(**ASKED).content[0].type, "text")
            with client.messages.stream(**ASKED) as stream:
                self.assertEqual(stream.get_final_message().stop_reason, "end_turn")
            seen = fetch(f"{base}/_mock/stats")["keys"]["any"]
        self.assertEqual((seen["requests"], seen["open"], seen["left"]), (2, 0, 0))

    def test_tools_are_called(self):
        choice = {"type": "tool", "name": "weather"}
        with mock_upstream() as base:
            client = anthropic.Anthropic(base_url=base, api_key="any", max_retries=0)
            plain = client.messages.create(**ASKED, tools=TOOLS, tool_choice=choice)
            with client.messages.stream(**ASKED, tools=TOOLS, tool_choice=choice) as stream:
                streamed = stream.get_final_message()
        for message in (plain, streamed):
            self.assertEqual(message.stop_reason, "tool_use")
            self.assertEqual(message.content[0].name, "weather")
            self.assertEqual(message.content[0].input, {"city": "river"})

    def test_a_script_and_a_seed_decide_what_happens(self):
        def statuses(seed, path):
            with mock_upstream("--script", path, "--seed", seed) as base:
                client = anthropic.Anthropic(base_url=base, api_key="k", max_retries=0)
                for _ in range(20):
                    try:
                        client.messages.create(**ASKED)
                        yield 200
                    except anthropic.APIStatusError as error:
                        yield error.status_code

        faults = '[keys.k]\nfaults = [{ kind = "status", status = 529, per_mille = 500 }]\n'
        with text_file(faults) as path:
            first, again, other = (list(statuses(seed, path)) for seed in ("1", "1", "2"))
        self.assertEqual(set(first), {200, 529})
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_mistake_is_told_with_its_place(self):
        with text_file("[default]\nwords = 0\n") as path:
            told = fails("--script", path)
        for part in (path, "line 2", "words = 0", "from 1 to"):
            self.assertIn(part, told)

    def test_a_port_that_is_taken_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            told = fails("--listen", address)
        self.assertIn(address, told)
        self.assertIn("--listen", told)


if __name__ == "__main__":
    unittest.main()
