"""Making a connection: one that the server has answered on."""

from __future__ import annotations

import socket
import time

from . import _frames
from ._frames import ACK, HEARTBEAT, Decoder
from ._pending import now_ms, refusal
from .errors import ConnectionFailed, ProtocolError
from .limits import Limits

#: Bytes that are read at a time.
RECEIVE_BYTES = 256 * 1024


def dial(host: str, port: int, limits: Limits, number: int) -> tuple[socket.socket, Decoder]:
    """A connection on which the server has answered a heartbeat of this number; it does not block.

    Raises :class:`wiber.ConnectionFailed`.
    """
    where = f"{host}:{port}"
    try:
        sock = socket.create_connection((host, port), timeout=limits.connect_timeout)
    except OSError as error:
        raise ConnectionFailed(f"no connection to {where}: {error}") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        decoder = _greet(sock, where, limits, number)
        sock.setblocking(False)
        return sock, decoder
    except (OSError, ProtocolError) as error:
        sock.close()
        if isinstance(error, ConnectionFailed):
            raise
        raise ConnectionFailed(f"no connection to {where}: {error}") from error


def shut(sock: socket.socket) -> None:
    """Ends a connection for both sides, and for every thread that waits on it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _greet(sock: socket.socket, where: str, limits: Limits, number: int) -> Decoder:
    sock.sendall(_frames.encode(HEARTBEAT, number, now_ms(), b""))
    decoder = Decoder(limits.frame_bytes)
    deadline = time.monotonic() + limits.connect_timeout
    while True:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionFailed(f"{where} closed the connection at once")
        for frame in decoder.feed(data):
            if frame.type == HEARTBEAT and frame.sequence == number:
                return decoder
            wrong = refusal(frame) if frame.type == ACK else None
            if wrong is not None:
                raise ConnectionFailed(f"{where} turned the connection away: {wrong}") from wrong
