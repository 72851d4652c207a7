"""An upstream that keeps what it is sent, and answers with bytes in the pieces that a test chooses."""

import contextlib
import http.server
import json
import threading

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "the-upstreams",
    "content": [{"type": "text", "text": "Recorded"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Each piece is to leave by itself.
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((headers, body))
        self.send_response(200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in filter(None, self.server.pieces):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def recorder(pieces=(json.dumps(MESSAGE).encode(),), **headers):
    """Such an upstream: its `url`, the `requests` that it got, each as headers and body, and the `pieces`
    and `headers` of its answers, which may be replaced."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.url = "http://127.0.0.1:%d" % server.server_port
        server.requests, server.pieces = [], pieces
        server.headers = {"content-type": "application/json", **headers}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
