"""kcat, the command line many know: it produces, consumes and lists."""

from __future__ import annotations

import json
import shutil
import subprocess
import unittest
from typing import Any

from .server import BOUND, KafkaTestCase

KCAT = shutil.which("kcat") or shutil.which("kafkacat")
if KCAT is None:
    raise unittest.SkipTest("kcat is not installed")


class Kcat(KafkaTestCase):
    def kcat(self, *arguments: str, given: str = "") -> str:
        command = [str(KCAT), "-q", "-b", self.bootstrap, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=BOUND, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def consume(self, topic: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.kcat("-C", "-e", "-J", "-t", topic, *arguments).splitlines()]

    def test_lines_go_and_come(self) -> None:
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec):
                topic = self.topic()
                given = "".join(f"k{n}:{codec} {n}\n" for n in range(50))
                self.kcat("-P", "-t", topic, "-p", "0", "-K", ":", "-z", codec, "-H", "one=1", given=given)
                came = self.consume(topic)
                self.assertEqual([m["payload"] for m in came], [f"{codec} {n}" for n in range(50)])
                self.assertEqual((came[7]["key"], came[7]["offset"], came[7]["headers"]), ("k7", 7, ["one", "1"]))

    def test_offsets(self) -> None:
        topic = self.topic()
        self.kcat("-P", "-t", topic, "-p", "0", given="".join(f"{n}\n" for n in range(10)))
        for wanted, expected in [("3", "3"), ("-2", "8"), ("beginning", "0"), ("s@1000", "0")]:
            came = self.consume(topic, "-p", "0", "-o", wanted)
            self.assertEqual(came[0]["payload"], expected, wanted)
        self.assertIn("offset 10", self.kcat("-Q", "-t", f"{topic}:0:-1"))

    def test_tombstones(self) -> None:
        topic = self.topic()
        self.kcat("-P", "-t", topic, "-p", "0", "-K", ":", "-Z", given="key:\n")
        (message,) = self.consume(topic)
        self.assertEqual((message["key"], message["payload"]), ("key", None))

    def test_what_there_is(self) -> None:
        topic = self.topic(3)
        listed = json.loads(self.kcat("-L", "-J"))
        self.assertEqual([b["name"] for b in listed["brokers"]], [self.bootstrap])
        found = next(t for t in listed["topics"] if t["topic"] == topic)
        self.assertEqual(sorted(p["partition"] for p in found["partitions"]), [0, 1, 2])

    def test_a_group(self) -> None:
        topic, group = self.topic(2), self.name("g")
        for partition in ("0", "1"):
            self.kcat("-P", "-t", topic, "-p", partition, given="one\ntwo\n")
        settings = ("-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000")
        came = self.kcat("-G", group, *settings, "-c", "4", topic)
        self.assertEqual(sorted(came.split()), ["one", "one", "two", "two"])
        self.kcat("-P", "-t", topic, "-p", "0", given="three\n")
        self.assertEqual(self.kcat("-G", group, *settings, "-c", "1", topic).split(), ["three"])
