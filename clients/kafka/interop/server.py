"""A real server with its Kafka listener, and test cases that end: each has its time, and nothing outlives the run."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
import unittest
import uuid
from typing import Any, Callable, Iterator, Optional, TypeVar

from tests.server import Server, until  # of clients/python

#: Longer than anything takes that works.
BOUND = 30.0
#: Longer than any test takes: what takes longer hangs, and ends the run.
TEST_BOUND = 120.0

T = TypeVar("T")


class KafkaServer(Server):
    """A server that speaks Kafka's protocol; killed and started again it is where it was, with what it had."""

    _running: set[KafkaServer] = set()

    def __init__(self, **variables: str) -> None:
        self.kafka_port = 0
        self.lines_port = 0
        super().__init__(**variables)

    def start(self) -> None:
        # A client finds a server that restarts only where it was.
        self._variables["QB_KAFKA__PORT"] = str(self.kafka_port)
        self._variables["QB_LINES__PORT"] = str(self.lines_port)
        self.lines.clear()
        super().start()
        KafkaServer._running.add(self)
        self.kafka_port = self._listening("kafka protocol")
        self.lines_port = self._listening("line protocol")

    def _listening(self, protocol: str) -> int:
        sign = f"listening ({protocol})"

        def found() -> Optional[str]:
            return next((line for line in list(self.lines) if sign in line.lower() and "address=" in line), None)

        until(lambda: found() is not None, f"'{sign}' in the server's log")
        return int((found() or "").split("address=", 1)[1].split()[0].rsplit(":", 1)[1])

    @property
    def bootstrap(self) -> str:
        """Where Kafka's clients begin."""
        return f"127.0.0.1:{self.kafka_port}"

    def close(self) -> None:
        KafkaServer._running.discard(self)
        super().close()

    @classmethod
    def end_all(cls) -> None:
        """Kills whatever runs and removes its data: the last thing before a run that hangs is ended."""
        for server in list(cls._running):
            server.close()


def _ended(signal_number: int, _frame: object) -> None:
    KafkaServer.end_all()
    os._exit(128 + signal_number)


# Who ends a run that takes too long ends its servers with it.
signal.signal(signal.SIGTERM, _ended)


class _Watch:
    """Ends the process when a test takes longer than any may, and says where it hung."""

    def __init__(self, what: str, bound: float) -> None:
        self._timer = threading.Timer(bound, self._end, (what, bound))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    @staticmethod
    def _end(what: str, bound: float) -> None:
        print(f"\n{what} did not end within {bound:.0f} s; it was here:", file=sys.stderr)
        faulthandler.dump_traceback(sys.stderr)
        KafkaServer.end_all()
        sys.stderr.flush()
        os._exit(3)


class KafkaTestCase(unittest.TestCase):
    """Tests that share one server; each makes its own topics and groups."""

    server: KafkaServer
    variables: dict[str, str] = {}

    @classmethod
    def setUpClass(cls) -> None:
        watch = _Watch(f"the start of the server for {cls.__name__}", TEST_BOUND)
        cls.server = KafkaServer(**{"QB_TOPICS__AUTO_CREATE": "true", **cls.variables})
        watch.cancel()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    def setUp(self) -> None:
        self.addCleanup(_Watch(self.id(), TEST_BOUND).cancel)

    @property
    def bootstrap(self) -> str:
        return self.server.bootstrap

    def name(self, what: str = "t") -> str:
        """A name for a topic or group that nobody else has."""
        return f"{what}-{uuid.uuid4().hex[:12]}"

    def topic(self, partitions: int = 1, **settings: Any) -> str:
        """A new topic, made by the native client, so that tests of one client hang on no other."""
        from wiber import BrokerClient

        name = self.name()
        with BrokerClient("127.0.0.1", self.server.port) as client:
            self.assertTrue(client.create_topic(name, partitions, **settings), client.last_error)
        return name


class LineClient:
    """A connection of the line protocol."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), BOUND)
        self._file = self._socket.makefile("rw", encoding="utf-8", newline="\n")
        self.expect("OK connected")

    def line(self) -> str:
        """The next line; it comes in time or not at all."""
        return self._file.readline().rstrip("\n")

    def expect(self, line: str) -> None:
        came = self.line()
        if came != line:
            raise AssertionError(f"{line!r} was expected, {came!r} came")

    def say(self, command: str) -> str:
        """Sends a command: the first line of its answer."""
        self._file.write(command + "\n")
        self._file.flush()
        return self.line()

    def history(self, topic: str, count: int) -> Iterator[tuple[int, str, str]]:
        """The last messages of a topic: offset as the other protocols count it, seconds, and text."""
        line = self.say(f"HISTORY {topic} {count}")
        while line != "OK history end":
            word, _, _, offset, seconds, text = line.split(" ", 5)
            if word != "HISTORY":
                raise AssertionError(f"no line of a history: {line!r}")
            yield int(offset) - 1, seconds, text
            line = self.line()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def eventually(attempt: Callable[[], Optional[T]], what: str, bound: float = BOUND) -> T:
    """Tries until there is a result that is not None. What is tried waits a little itself where it can."""
    end = time.monotonic() + bound
    while True:
        result = attempt()
        if result is not None:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {bound:.0f} s")
        time.sleep(0.005)
