"""The codec: golden bytes of the protocol's document, round trips, every truncation, hostile lengths."""

from __future__ import annotations

import struct
import unittest

from wiber import ProtocolError
from wiber._frames import ACK, DATA, PUBLISH, Decoder, encode, encode_pairs, parse_pairs
from wiber._records import crc32c, murmur2, partition_of_key, single_record_batch

GOLDEN_PUBLISH = bytes.fromhex(
    "0000002a 00000007 0000000000000002 0000018bcfe56800 00000008 746f7069633d7400 00000002 6869".replace(" ", "")
)
MAX = 1024 * 1024


class Frames(unittest.TestCase):
    def test_golden_publish(self) -> None:
        made = encode(PUBLISH, 2, 1_700_000_000_000, encode_pairs([("topic", "t")]), b"hi")
        self.assertEqual(made, GOLDEN_PUBLISH)
        (frame,) = Decoder(MAX).feed(GOLDEN_PUBLISH)
        self.assertEqual((frame.type, frame.sequence, frame.timestamp), (PUBLISH, 2, 1_700_000_000_000))
        self.assertEqual((frame.properties(), frame.body), ({"topic": "t"}, b"hi"))

    def test_an_empty_frame_has_32_bytes(self) -> None:
        self.assertEqual(len(encode(3, 0, 0, b"")), 32)

    def test_round_trip(self) -> None:
        for pairs, body in [
            ([], b""),
            ([("a", ""), ("a", "2"), ("ż=".replace("=", ""), "x=y=z")], b"\x00\xff" * 9),
            ([("topic", "t"), ("emoji", "🎷 – 日本")], b"x" * 70_000),
        ]:
            (frame,) = Decoder(MAX).feed(encode(DATA, 2**64 - 1, -5, encode_pairs(pairs), body))
            self.assertEqual((frame.sequence, frame.timestamp), (2**64 - 1, -5))
            self.assertEqual((frame.pairs(), frame.body), (pairs, body))

    def test_every_truncation_waits_and_every_division_gives_the_same(self) -> None:
        whole = GOLDEN_PUBLISH + encode(ACK, 9, 1, encode_pairs([("status", "success")]), b"body") + GOLDEN_PUBLISH
        for cut in range(len(whole) + 1):
            decoder = Decoder(MAX)
            first = decoder.feed(whole[:cut])
            ends = (42, len(whole) - 42, len(whole))
            self.assertEqual(len(first), sum(cut >= end for end in ends), f"cut at {cut}")
            both = first + decoder.feed(whole[cut:])
            self.assertEqual([f.sequence for f in both], [2, 9, 2], f"cut at {cut}")
            self.assertEqual([f.body for f in both], [b"hi", b"body", b"hi"])
        decoder = Decoder(MAX)
        single = [frame for byte in whole for frame in decoder.feed(bytes([byte]))]
        self.assertEqual([f.sequence for f in single], [2, 9, 2])

    def test_hostile_lengths(self) -> None:
        def with_lengths(total: int, properties: int, body: int) -> bytes:
            return struct.pack(">IIQqI", total, ACK, 1, 0, properties) + b"a=b\0" + struct.pack(">I", body) + b"xy"

        self.assertEqual(len(Decoder(MAX).feed(with_lengths(38, 4, 2))), 1)
        for total, properties, body in [
            (0, 4, 2),
            (31, 4, 2),
            (38, 3, 2),
            (38, 5, 2),
            (38, 4, 1),
            (38, 4, 3),
            (38, 7, 2),
            (38, 2**32 - 1, 2),
            (38, 4, 2**32 - 1),
            (38, 2**31, 2**31),
            (MAX + 1, 4, 2),
            (2**32 - 1, 4, 2),
        ]:
            with self.subTest(total=total, properties=properties, body=body), self.assertRaises(ProtocolError):
                Decoder(MAX).feed(with_lengths(total, properties, body))
        for total in (0, 31, MAX + 1, 2**32 - 1):
            with self.assertRaises(ProtocolError):
                Decoder(MAX).feed(struct.pack(">I", total))

    def test_an_announced_length_takes_no_memory(self) -> None:
        decoder = Decoder(2**31)
        self.assertEqual(decoder.feed(struct.pack(">I", 2**31) + bytes(100)), [])
        self.assertLess(len(decoder._rest), 200)

    def test_properties_that_break_their_rule(self) -> None:
        self.assertEqual(parse_pairs(b""), [])
        for block in (b"a=b", b"\0", b"a\0", b"=b\0", b"a=b\0\0", b"\xff=b\0", b"a=\xed\xa0\x80\0"):
            with self.subTest(block=block), self.assertRaises(ProtocolError):
                parse_pairs(block)
        for name, value in (("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "\0")):
            with self.subTest(name=name), self.assertRaises(ValueError):
                encode_pairs([(name, value)])


class Records(unittest.TestCase):
    def test_the_crc_is_the_right_one(self) -> None:
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)

    def test_the_hash_is_that_of_kafkas_clients(self) -> None:
        for key, expected in [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ]:
            self.assertEqual(murmur2(key), expected & 0xFFFFFFFF, key)
        self.assertEqual(partition_of_key(b"21", 7), (-973_932_308 & 0x7FFFFFFF) % 7)

    def test_a_batch_holds_together(self) -> None:
        batch = single_record_batch(b"k" * 100, None, [(b"a", b"1"), (b"b", None)], 1_700_000_000_000)
        base, length, epoch, magic, crc = struct.unpack_from(">qiibI", batch)
        self.assertEqual((base, length, epoch, magic), (0, len(batch) - 12, -1, 2))
        self.assertEqual(crc, crc32c(batch[21:]))


if __name__ == "__main__":
    unittest.main()
