import subprocess
import sys
from pathlib import Path

import pytest

from flows._lock import Busy, exclusive

HOLD = """\
import sys
from pathlib import Path

from flows._lock import exclusive

with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_by_name_and_the_kernel_frees_the_lock_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "train.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=rf"train\.lock: another training \(process {holder.pid}\)"), exclusive(path):
            pytest.fail("two hold the lock")
        holder.kill()
        holder.wait()
        with exclusive(path):
            assert path.read_text().strip() != str(holder.pid)
