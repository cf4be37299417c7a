"""Run the tutorial, and the how-tos after it, in a fresh copy of the project: `make docs-test`."""

import os
import shutil
import subprocess
from pathlib import Path

from documents import blocks
from project import ROOT


def test_the_tutorial_and_the_how_tos_do_what_they_say(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in filter(lambda name: (ROOT / name).exists(), listed.stdout.splitlines()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    script = "\n".join(block for page in ("tutorial", "howto") for block in blocks(ROOT / "docs" / f"{page}.md"))
    (tmp_path / "typed.sh").write_text(f"set -euxo pipefail\n{script}")
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(["bash", "typed.sh"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-5000:]

    assert (tmp_path / "results" / "report.html").stat().st_size > 1_000_000
    for run, iterations in [("first", 60), ("second", 40)]:
        summary = (tmp_path / "results" / "runs" / run / "summary.txt").read_text()
        assert f"{iterations} iterations" in summary
