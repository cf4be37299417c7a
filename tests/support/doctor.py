"""Run check_azure.py as a user would, and read its lines."""

from pathlib import Path

import yaml

from project import ROOT, run_script

SHIPPED = ROOT / "profiles" / "azure-batch" / "config.yaml"
# What the shipped profile asks for, with fewer nodes.
POOL = yaml.safe_load(SHIPPED.read_text()) | {"azurebatch-pool-node-count": 2}
VERDICTS = ("ok", "FAIL", "could not check")
STEP = 20  # columns before the title: the verdict, and the step's number


class Visit:
    """One run: its exit code, all that it printed, and the line of each title.

    `changes` are of the pool, `profile` is what else the profile holds.
    """

    def __init__(self, folder: Path, *args: object, profile: dict | None = None, **changes: object) -> None:
        path = folder / "profile.yaml"
        pool = POOL | {f"azurebatch-pool-{name.replace('_', '-')}": value for name, value in changes.items()}
        path.write_text(yaml.safe_dump(pool | (profile or {})))
        result = run_script("check_azure.py", "--profile", path, *args)
        assert result.stderr == ""
        self.exit_code, self.printed = result.returncode, result.stdout
        self.lines = result.stdout.splitlines()
        assert all(line[:17].strip() in VERDICTS for line in self.lines)

    def of(self, title: str) -> str:
        """The line whose title begins so: its verdict, a colon, and what it says."""
        found = [line for line in self.lines if line[STEP:].startswith(title)]
        assert len(found) == 1, self.printed
        return f"{found[0][:17].strip()}: {found[0][STEP:].partition(': ')[2]}"

    def steps(self) -> dict[str, list[str]]:
        """The titles of the lines of each step, in order."""
        steps: dict[str, list[str]] = {}
        for line in self.lines:
            steps.setdefault(line[17:STEP].strip(), []).append(line[STEP:].partition(": ")[0])
        return steps

    def verdicts(self) -> list[str]:
        """The verdicts that are not ok, in order."""
        return [line[:17].strip() for line in self.lines if not line.startswith("ok ")]
