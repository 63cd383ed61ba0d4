"""Tests of the client. They find it beside themselves, and need nothing but Python and a built server."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

# What the client logs is part of what is tested, and not to be shown beside it.
logging.getLogger("wiber").addHandler(logging.NullHandler())
