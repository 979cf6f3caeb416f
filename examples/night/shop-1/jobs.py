"""The jobs of a shop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from night import close_week, migrate, trade

__all__ = ["close_week", "migrate", "trade"]
