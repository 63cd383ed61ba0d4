"""What a subscription hands out of what comes a second time."""

from __future__ import annotations

import unittest
from typing import Callable

from wiber._frames import DATA, Frame
from wiber._subscription import Subscription


def hold(of: Subscription) -> None:
    of.begin(2)
    of.hold(2)
    of.finish(2, succeeded=True)


class Twice(unittest.TestCase):
    def setUp(self) -> None:
        self.subscription = Subscription("t", 0, None, auto_ack=False, start=())
        self.acked: list[int] = []
        self.subscription.send_ack = self.acked.append

    def come(self, *offsets: int) -> list[int]:
        """Those of the offsets that are handed out when the server sends them."""
        messages = [self.subscription.take_in(Frame(DATA, offset, 0, b"", b"")) for offset in offsets]
        return [message.offset for message in messages if message is not None]

    def check(self, then: Callable[[Subscription], object], again: bool, acked: list[int]) -> None:
        """Offsets 0 to 4 came, ``then`` happened, and the server sends 2 once more."""
        self.assertEqual(self.come(0, 1, 2, 3, 4), [0, 1, 2, 3, 4])
        then(self.subscription)
        del self.acked[:]
        self.assertEqual(self.come(2), [2] if again else [])
        self.assertEqual(self.acked, acked)
        self.assertEqual(self.come(5), [5], "what is new comes in any case")

    def test_what_waits_is_not_handed_out_again(self) -> None:
        self.check(lambda of: None, False, [])

    def test_what_is_being_handled_is_not_handed_out_again(self) -> None:
        self.check(lambda of: of.begin(2), False, [])

    def test_what_was_acknowledged_is_acknowledged_again(self) -> None:
        self.check(lambda of: of.ack(2), False, [2])

    def test_what_was_acknowledged_as_the_lowest_is_acknowledged_again(self) -> None:
        def acknowledge(of: Subscription) -> None:
            for offset in range(3):
                of.ack(offset)

        self.check(acknowledge, False, [2])

    def test_what_failed_is_handed_out_again(self) -> None:
        def fail(of: Subscription) -> None:
            of.begin(2)
            of.finish(2, succeeded=False)

        self.check(fail, True, [])

    def test_what_is_held_is_handed_out_again(self) -> None:
        self.check(hold, True, [])

    def test_what_is_acknowledged_while_it_waits_again_is_not_handed_out(self) -> None:
        self.check(hold, True, [])
        self.subscription.hold(2)
        self.assertEqual(self.come(2), [], "it waits, whatever who held it says")
        self.subscription.ack(2)
        self.assertEqual(self.acked, [2])
        self.assertFalse(self.subscription.begin(2))
        self.assertTrue(self.subscription.begin(3))

    def test_what_was_dropped_is_handed_out_again(self) -> None:
        self.check(lambda of: of.dropped(2), True, [])


if __name__ == "__main__":
    unittest.main()
