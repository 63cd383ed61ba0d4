"""kafkajs, by node's own test runner: its tests stand in kafkajs.test.js and get the server from here."""

from __future__ import annotations

import os
import shutil
import subprocess
import unittest
from pathlib import Path

from .server import TEST_BOUND, KafkaTestCase

NODE = shutil.which("node")
TESTS = Path(__file__).with_name("kafkajs.test.js")


def _loads(module: str) -> bool:
    found = subprocess.run([str(NODE), "-e", f"require('node:test'); require('{module}')"], capture_output=True, check=False, timeout=30)
    return found.returncode == 0


if NODE is None:
    raise unittest.SkipTest("node is not installed")
if not _loads("kafkajs"):
    raise unittest.SkipTest("kafkajs is not installed where NODE_PATH looks")


class KafkaJs(KafkaTestCase):
    def test_all_of_it(self) -> None:
        environment = {**os.environ, "WIBER_KAFKA": self.bootstrap, "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
        done = subprocess.run(
            [str(NODE), "--test", str(TESTS)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TEST_BOUND - 5,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        print("\n" + "\n".join(line for line in done.stdout.splitlines() if line.startswith(("# pass", "# fail", "\u2139 pass", "\u2139 fail"))))
