"""Tests of the client. They find it beside themselves, and need nothing but Python and a built server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
