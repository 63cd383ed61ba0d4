"""Everything that is bounded, by its name."""

from __future__ import annotations

from dataclasses import dataclass, fields

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much a client holds, and how long it waits.

    Every number has a bound to keep: memory never grows with what a peer announces or a handler leaves undone.

    >>> Limits(in_flight=1_000).in_flight
    1000
    """

    in_flight: int = 16_384
    """Publishes without an answer; the next one waits for room."""

    in_flight_bytes: int = 32 * MIB
    """Bytes of them. One message that is larger goes alone."""

    queue: int = 10_000
    """Messages that wait for a handler (of all subscriptions, or of one group member). Beyond it the client stops
    reading them, so that the server waits."""

    queue_bytes: int = 16 * MIB
    """Bytes of them."""

    frame_bytes: int = 65 * MIB
    """The largest frame that is taken from the server; one that is larger ends the connection."""

    request_timeout: float = 30.0
    """Seconds after which a call without an answer gives up, reconnecting included."""

    connect_timeout: float = 10.0
    """Seconds for one attempt to connect."""

    backoff_first: float = 0.05
    """Seconds before the second attempt to reconnect; each further wait is twice as long, less a random part."""

    backoff_most: float = 5.0
    """Seconds between attempts at most."""

    heartbeat_interval: float = 10.0
    """Seconds of silence after which the client asks for a sign of life. Three times as long, and it reconnects."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; it must be above 0")
