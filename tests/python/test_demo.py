"""What `sluice demo` prints works as printed."""

import json
import socket
import subprocess
import unittest

from demo import SLUICE, demo


class Demo(unittest.TestCase):
    def test_every_printed_command_works(self):
        with demo() as (where, guide):
            commands = [line for line in guide if line.startswith("curl ")]
            outputs = [
                subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
                for line in commands
            ]
        plain, stream, refused, response, content, gates, upstream = outputs
        self.assertEqual(json.loads(plain)["type"], "message")
        self.assertIn("event: message_stop", stream)
        self.assertIn("403", refused.splitlines()[0])
        self.assertIn("billing_error", refused)
        self.assertEqual(json.loads(response)["object"], "response")
        self.assertIn("candidates", json.loads(content))
        self.assertIn("gates", json.loads(gates))
        self.assertTrue(json.loads(upstream)["keys"])
        self.assertIn(where["gateway"], commands[0])

    def test_a_port_that_is_taken_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            command = [SLUICE, "demo", "--listen", address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn(address, done.stderr)
        self.assertIn("--listen", done.stderr)


if __name__ == "__main__":
    unittest.main()
