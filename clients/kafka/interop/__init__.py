"""Kafka's own clients against a real Wiber server. What of them is not installed is skipped, and nothing else."""

import logging
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[3]

# The native client, and the server that its tests start.
for directory in ("clients/python", "clients/python/src", "scripts"):
    sys.path.insert(0, str(_REPOSITORY / directory))

# What clients log while a server restarts under them is expected, and not to be shown beside the results.
for name in ("wiber", "kafka", "aiokafka"):
    logging.getLogger(name).addHandler(logging.NullHandler())
    logging.getLogger(name).propagate = False
