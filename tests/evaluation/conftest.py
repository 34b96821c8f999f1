"""Makes the test world importable by name, here and (Ray hands the path on) in workers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
