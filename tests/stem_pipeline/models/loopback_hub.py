"""A model hub on this machine's own loopback: real HTTP, our own answers: fetching is tested without the network."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from stem_pipeline.models.canonical import canonical_bytes
from stem_pipeline.models.catalogue import ModelCard, find_model


def small_state(seed: int = 7) -> dict[str, np.ndarray]:
    """A few float32 tensors that are exact in half precision, as published weights are."""
    random = np.random.default_rng(seed)
    shapes = {"encoder.weight": (64, 32, 8), "encoder.bias": (64,), "scale": (1,)}
    return {name: random.normal(size=shape).astype(np.float16).astype(np.float32) for name, shape in shapes.items()}


def small_card() -> ModelCard:
    """htdemucs' card with a made, small model's digest, so that fetching it takes no time."""
    data = canonical_bytes(small_state())
    return dataclasses.replace(
        find_model("htdemucs"), weights_sha256=hashlib.sha256(data).hexdigest(), weights_size=len(data)
    )


class LoopbackHub:
    """Serves `body` at every path. `half_then_wait`: sends one half, then holds the line until `release` is set."""

    def __init__(self, body: bytes, *, half_then_wait: bool = False, seconds: float = 0.0) -> None:
        self.body, self.requests = body, 0
        self.half_sent, self.release = threading.Event(), threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests += 1
                half = len(hub.body) // 2
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(hub.body)))
                    self.end_headers()
                    self.wfile.write(hub.body[:half])
                    self.wfile.flush()
                    hub.half_sent.set()
                    hub.release.wait(30 if half_then_wait else seconds)
                    self.wfile.write(hub.body[half:])
                except ConnectionError:  # the fetching process was killed, as the test meant
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
