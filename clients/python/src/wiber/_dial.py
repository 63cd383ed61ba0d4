"""Making a connection: one that the server has answered on."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Callable

from . import _frames
from ._frames import ACK, HEARTBEAT, Decoder
from ._pending import now_ms, refusal
from .errors import ConnectionFailed, ProtocolError
from .limits import Limits

#: Bytes that are read at a time.
RECEIVE_BYTES = 256 * 1024
_LOOK_ROUND_S = 0.25
#: What says that a connection is about to come about.
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EINTR)

#: Called every now and then while one waits; ends that by raising ``OSError``.
Meanwhile = Callable[[], None]


def dial(host: str, port: int, limits: Limits, number: int, meanwhile: Meanwhile) -> tuple[socket.socket, Decoder]:
    """A connection on which the server has answered a heartbeat of this number; it does not block.

    Raises :class:`wiber.ConnectionFailed`.
    """
    where = f"{host}:{port}"
    try:
        sock = _connect(host, port, limits.connect_timeout, meanwhile)
    except OSError as error:
        raise ConnectionFailed(f"no connection to {where}: {error}") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, _greet(sock, where, limits, number, meanwhile)
    except (OSError, ProtocolError) as error:
        sock.close()
        if isinstance(error, ConnectionFailed):
            raise
        raise ConnectionFailed(f"no connection to {where}: {error}") from error
    except BaseException:
        sock.close()
        raise


def shut(sock: socket.socket) -> None:
    """Ends a connection for both sides, and for every thread that waits on it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def is_to_itself(sock: socket.socket) -> bool:
    """Whether a connection has no other side: where nobody listens on a port of this machine, one may meet oneself
    there, and would answer one's own heartbeat."""
    return bool(sock.getsockname() == sock.getpeername())


def _connect(host: str, port: int, timeout: float, meanwhile: Meanwhile) -> socket.socket:
    """Connects to the first address of the host that lets us; each may take so many seconds."""
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in _UNDER_WAY:
                _wait(sock, selectors.EVENT_WRITE, time.monotonic() + timeout, meanwhile)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0 and is_to_itself(sock):
                code = errno.ECONNREFUSED
            if code == 0:
                return sock
            failure = OSError(code, os.strerror(code))
        except OSError as error:
            failure = error
        except BaseException:
            sock.close()
            raise
        sock.close()
    raise failure


def _greet(sock: socket.socket, where: str, limits: Limits, number: int, meanwhile: Meanwhile) -> Decoder:
    # So few bytes go whole, where nothing went before.
    sock.sendall(_frames.encode(HEARTBEAT, number, now_ms(), b""))
    decoder = Decoder(limits.frame_bytes)
    deadline = time.monotonic() + limits.connect_timeout
    while True:
        _wait(sock, selectors.EVENT_READ, deadline, meanwhile)
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionFailed(f"{where} closed the connection at once")
        for frame in decoder.feed(data):
            if frame.type == HEARTBEAT and frame.sequence == number:
                return decoder
            wrong = refusal(frame) if frame.type == ACK else None
            if wrong is not None:
                raise ConnectionFailed(f"{where} turned the connection away: {wrong}") from wrong


def _wait(sock: socket.socket, event: int, deadline: float, meanwhile: Meanwhile) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            if selector.select(min(left, _LOOK_ROUND_S)):
                return
            meanwhile()
