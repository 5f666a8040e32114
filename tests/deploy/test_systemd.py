"""The unit for systemd, judged by systemd's own tools."""

import re
import subprocess
from pathlib import Path

from tests.deploy.test_kubernetes import STOP_SECONDS
from tests.support.manifests import DEPLOY
from tests.support.tools import require_tool

UNIT = DEPLOY / "systemd" / "autoenhance-batch.service"
# Of systemd's own scale of 0 (safe) to 10.
EXPOSURE = 2.0


def values(name: str) -> list[str]:
    """What the unit sets a directive to."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_understands_it(tmp_path: Path) -> None:
    """Without a word: what it does not know it would pass over. A program that is there stands for ours."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))

    ended = subprocess.run(
        [require_tool("systemd-analyze"), "verify", str(unit)], check=False, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_it_may_do_little() -> None:
    """By systemd's own count."""
    ended = subprocess.run(
        [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNIT)],
        check=False,
        capture_output=True,
        text=True,
    )

    (level,) = re.findall(r"exposure level for \S+: ([\d.]+)", ended.stdout)
    assert float(level) <= EXPOSURE


def test_a_stop_is_given_the_time_that_it_takes() -> None:
    """All of it."""
    assert [float(value) for value in values("TimeoutStopSec")] == [STOP_SECONDS]


def test_what_fails_is_started_again() -> None:
    """Unless its settings were refused, which `serve` says with an exit code of its own."""
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == ["2"]


def test_it_starts_the_command_with_a_directory_that_it_may_write_to() -> None:
    """`DATA_DIR` is the state directory; the working directory, where `.env` would be read, is not."""
    (state,) = values("StateDirectory")
    environment = dict(pair.split("=") for line in values("Environment") for pair in line.split())

    assert values("ExecStart") == ["/opt/autoenhance-batch/bin/autoenhance-batch serve"]
    assert environment["DATA_DIR"] == f"/var/lib/{state}"
    assert values("WorkingDirectory") == ["/opt/autoenhance-batch"]
