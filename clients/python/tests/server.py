"""A real server for tests: started on port 0 in a temporary directory, found by what it logs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import uuid
from pathlib import Path
from typing import Any, Callable, Optional

from wiber import BrokerClient, Limits, Message

#: Longer than anything takes that works.
BOUND = 60.0


def binary() -> Path:
    """The server under test: ``WIBER_SERVER``, or what ``cargo build`` left in the repository."""
    named = os.environ.get("WIBER_SERVER")
    if named:
        # Absolute, because servers are started elsewhere. Where it is missing, the start fails: it was asked for.
        return Path(named).resolve()
    path = Path(__file__).resolve().parents[3] / "target" / "debug" / "wiber-server"
    if not path.is_file():
        raise unittest.SkipTest(f"no server at {path}: build it with cargo build, or name one in WIBER_SERVER")
    return path


class Server:
    """A running server. ``kill`` and ``start`` again, and it is on the same port with the same data."""

    def __init__(self, **variables: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="wiber-python-"))
        self.port = 0
        self._variables = variables
        self._process: Optional[subprocess.Popen[str]] = None
        self.lines: list[str] = []
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts it and waits until it listens."""
        environment: dict[str, str] = {
            "QB_DATA_DIR": str(self.directory / "data"),
            "QB_SERVER_PORT": str(self.port),
            "QB_LINES__PORT": "0",
            "QB_HTTP__PORT": "0",
            "QB_KAFKA__PORT": "0",
            "QB_TOPICS__CREATE": "{}",
            "QB_STORAGE__SYNC": "os",
            **self._variables,
        }
        process = subprocess.Popen(
            [str(binary())],
            cwd=str(self.directory),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        listening = threading.Event()
        threading.Thread(target=self._read, args=(process, listening), daemon=True).start()
        if not listening.wait(BOUND) or not self.port:
            process.kill()
            raise AssertionError("the server does not listen; its log:\n" + "\n".join(self.lines))

    def _read(self, process: subprocess.Popen[str], listening: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip())
            if "listening (native protocol)" in line and "address=" in line:
                address = line.split("address=", 1)[1].split()[0]
                self.port = int(address.rsplit(":", 1)[1])
                listening.set()
        process.stderr.close()
        listening.set()

    def kill(self) -> None:
        """Ends it as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(BOUND)
            self._process = None

    def terminate(self) -> None:
        """Asks it to end, and waits until it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(BOUND)
            self._process = None

    def pause(self) -> None:
        """Stops its process without ending it, and waits until each of its threads has stopped."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Lets a stopped process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class ServerTestCase(unittest.TestCase):
    """Tests that share one server; each makes its own topics."""

    server: Server
    variables: dict[str, str] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(**cls.variables)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()

    def client(self, client_id: Optional[str] = None, **limits: float) -> BrokerClient:
        """A connected client that is disconnected when the test ends."""
        chosen: Any = {"request_timeout": BOUND, "backoff_most": 0.2, **limits}
        client = BrokerClient("127.0.0.1", self.server.port, client_id, limits=Limits(**chosen))
        client.connect()
        self.addCleanup(client.disconnect)
        return client

    def topic(self, client: BrokerClient, partitions: int = 1) -> str:
        """A new topic of this test."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.assertTrue(client.create_topic(name, partitions))
        return name


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for what nothing announces, by looking again and again."""
    end = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about")
        time.sleep(0.005)


class Gathered:
    """A handler that keeps what it gets."""

    def __init__(self, then: Optional[Callable[[Message], object]] = None) -> None:
        self.messages: list[Message] = []
        self._then = then
        self._changed = threading.Condition()

    def __call__(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if self._then is not None:
            self._then(message)

    def wait_for(self, count: int) -> list[Message]:
        """The messages, once there are so many."""
        self.wait_until(lambda messages: len(messages) >= count, f"{count} messages")
        return list(self.messages)

    def wait_until(self, condition: Callable[[list[Message]], bool], what: str) -> None:
        """Waits until what came fulfils a condition."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.messages), BOUND):
                raise AssertionError(f"{what} were awaited; {len(self.messages)} came")

    def bodies(self) -> list[bytes]:
        """What came, in its order."""
        with self._changed:
            return [message.body for message in self.messages]
