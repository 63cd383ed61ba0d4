"""A stand-in for a server, which does what a real one never would, or says what each frame it gets was."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import Callable, Optional

from wiber._frames import ACK, HEARTBEAT, Decoder, Frame, encode, encode_pairs

from .server import BOUND

Answer = Callable[["Session", Frame], None]


class Session:
    """A connection of a client's."""

    def __init__(self, stand_in: StandIn, sock: socket.socket) -> None:
        self.stand_in = stand_in
        self.socket = sock

    def send(self, data: bytes) -> None:
        """Sends these bytes, if anybody takes them."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def frame(
        self, type: int, sequence: int, properties: Mapping[str, object], body: bytes = b"", timestamp: int = 0
    ) -> None:
        """Sends a frame."""
        pairs = [(name, str(value)) for name, value in properties.items()]
        self.send(encode(type, sequence, timestamp, encode_pairs(pairs), body))

    def succeed(self, request: Frame, body: bytes = b"", **properties: object) -> None:
        """Answers with success."""
        self.frame(ACK, request.sequence, {"status": "success", **properties}, body)

    def refuse(self, request: Frame, code: str) -> None:
        """Answers with a refusal."""
        self.frame(ACK, request.sequence, {"status": "error", "error": "because", "code": code})

    def close(self) -> None:
        """Ends the connection."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class StandIn:
    """Listens on a port of its own, answers heartbeats, and leaves everything else to ``answer``."""

    def __init__(self, answer: Answer, *, beats: bool = True, port: int = 0) -> None:
        self._answer = answer
        self._beats = beats
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.sessions: list[Session] = []
        self.frames: list[tuple[Session, Frame]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends everything."""
        # A thread that waits in accept is woken by this alone.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for session in list(self.sessions):
            session.close()

    def wait_for(self, type: int, count: int = 1, where: Optional[Callable[[Frame], bool]] = None) -> Frame:
        """Waits until so many frames of a type came, and returns the last of them."""

        def found() -> list[Frame]:
            return [f for _, f in self.frames if f.type == type and (where is None or where(f))]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, BOUND):
                raise AssertionError(f"{len(found())} of {count} frames of type {type} came")
            return found()[count - 1]

    def types(self) -> list[int]:
        """The types of what came, but for heartbeats."""
        with self._changed:
            return [frame.type for _, frame in self.frames if frame.type != HEARTBEAT]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            session = Session(self, sock)
            self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session: Session) -> None:
        decoder = Decoder(64 * 1024 * 1024)
        while True:
            try:
                data = session.socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            for frame in decoder.feed(data):
                with self._changed:
                    self.frames.append((session, frame))
                    self._changed.notify_all()
                if frame.type != HEARTBEAT:
                    self._answer(session, frame)
                elif self._beats and frame.sequence:
                    session.frame(HEARTBEAT, frame.sequence, {})
