"""Programs written for the original client run unchanged on this one."""

from __future__ import annotations

import importlib.util
import unittest
from pathlib import Path
from typing import Any

from wiber import BrokerClient

from .server import ServerTestCase

PROGRAM = Path(__file__).resolve().parents[3] / "test_broker" / "original_client.py"


class Stood(BrokerClient):
    """The client, with what the program looks at to see that its own works."""

    unhandled: list[int] = []

    def __init__(self, host: str, port: int, client_id: Any = None, handler_delay: float = 0.0) -> None:
        super().__init__(host, port, client_id)

    @property
    def running(self) -> bool:
        """Whether the connection stands."""
        return self.is_connected


class Programs(ServerTestCase):
    def setUp(self) -> None:
        if not PROGRAM.is_file():
            self.skipTest("the program lies in the repository, and this is not it")
        spec = importlib.util.spec_from_file_location("original_client", PROGRAM)
        assert spec is not None and spec.loader is not None
        program: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        program.BrokerClient = Stood
        program.print = lambda *_: None
        self.program: Any = program

    def test_round_trip(self) -> None:
        self.program.round_trip("127.0.0.1", self.server.port)

    def test_slow_handlers(self) -> None:
        self.program.slow_handlers("127.0.0.1", self.server.port, 10, 0.0)

    def test_at_least_once(self) -> None:
        self.program.at_least_once("127.0.0.1", self.server.port)


if __name__ == "__main__":
    unittest.main()
