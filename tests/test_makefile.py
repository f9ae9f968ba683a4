import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    set(re.findall(r"\$\(BIN\)/python (\S+(?: [\w.]+)?)", (ROOT / "Makefile").read_text(encoding="utf-8")))
)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_make_calls_starts_and_has_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
