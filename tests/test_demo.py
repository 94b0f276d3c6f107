"""The demonstration runs from nothing and measures what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo.py"


@pytest.mark.slow
def test_the_demonstration(tmp_path):
    answer = subprocess.run(
        [sys.executable, str(DEMO)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 100_000
    kept, on_ice = (float(share) for share in re.findall(r"points kept +([\d.]+) %", answer.stdout))
    assert min(kept, on_ice) > 90
    wrong = [float(share) for share in re.findall(r"than a pixel +([\d.]+) %", answer.stdout)]
    assert max(wrong) < 1
