"""The official SDK talks to the gateway as it would to the upstream."""

import json
import unittest
import urllib.request

import anthropic

from demo import demo

HELLO = {
    "model": "claude-demo",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello"}],
}


class AnthropicSdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.demo = demo()
        cls.where, _ = cls.demo.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.demo.__exit__(None, None, None)

    def client(self, key):
        return anthropic.Anthropic(base_url=self.where["gateway"], api_key=key, max_retries=0)

    def test_a_plain_message(self):
        answer = self.client("sk-demo-alice").messages.create(**HELLO)
        self.assertEqual(answer.model, "claude-demo")
        self.assertTrue(answer.content[0].text.startswith("Hello from the account"))
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertGreater(answer.usage.output_tokens, 0)

    def test_a_streamed_message(self):
        with self.client("sk-demo-bob").messages.stream(**HELLO) as stream:
            pieces = list(stream.text_stream)
            answer = stream.get_final_message()
        self.assertGreater(len(pieces), 5)
        self.assertEqual("".join(pieces), answer.content[0].text)
        self.assertEqual(answer.stop_reason, "end_turn")

    def test_a_stream_that_is_closed_early_frees_its_slots(self):
        with self.client("sk-demo-bob").messages.stream(**HELLO) as stream:
            next(iter(stream.text_stream))
        for _ in range(200):
            with urllib.request.urlopen(self.where["admin"] + "/debug/gates") as page:
                gates = json.load(page)["gates"]
            if not any(gate["held"] for gate in gates if gate["name"] == "bob"):
                return
        self.fail(f"bob still holds a slot: {gates}")

    def test_errors_are_the_sdks_own(self):
        with self.assertRaises(anthropic.AuthenticationError):
            self.client("sk-wrong").messages.create(**HELLO)
        with self.assertRaises(anthropic.PermissionDeniedError) as caught:
            self.client("sk-demo-carol").messages.create(**HELLO)
        self.assertEqual(caught.exception.body["error"]["type"], "billing_error")
        self.assertTrue(caught.exception.response.headers["x-request-id"])
        with self.assertRaises(anthropic.BadRequestError):
            self.client("sk-demo-alice").messages.create(**{**HELLO, "model": ""})

    def test_twenty_at_once_are_all_served(self):
        import concurrent.futures

        client = self.client("sk-demo-alice")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: client.messages.create(**HELLO), range(20)))
        self.assertEqual(len(answers), 20)


if __name__ == "__main__":
    unittest.main()
