"""Each example is a folder with an operator and its tests, which import it by its name."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in sorted(p for p in Path(__file__).parent.iterdir() if p.is_dir()):
    sys.path.insert(0, str(folder))
