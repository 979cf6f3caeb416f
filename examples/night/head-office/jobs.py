"""The jobs of head office."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from night import migrate, seed

__all__ = ["migrate", "seed"]
