"""Files that several processes write at once, or that one was killed over."""

import os
import subprocess
import sys
from pathlib import Path

from project import ROOT, deliver, jsonl, merge_shard


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    path = deliver(tmp_path / "a.jsonl", jsonl(["tale"]))
    host = os.uname().nodename
    parts = tmp_path / ".shard.jsonl.parts"
    left, *others = [parts / f"{host}.{2**22 - 1}", parts / f"{host}.{os.getpid()}", parts / "elsewhere.1"]
    parts.mkdir()
    for part in (left, *others):
        part.write_text("partial")
    assert merge_shard(tmp_path, path).returncode == 0
    assert sorted(parts.iterdir()) == sorted(others)
    assert (tmp_path / "shard.jsonl").read_bytes() == jsonl(["tale"])
    for part in others:
        part.unlink()
    assert merge_shard(tmp_path, path).returncode == 0
    assert not parts.exists(), "nothing is left of it"


def test_many_writers_of_one_file_leave_it_whole(tmp_path: Path) -> None:
    """Each removes the folder that the others are about to write in."""
    code = """if True:
        import sys
        from pretrain_llama.files import write_text
        for number in range(300):
            write_text(sys.argv[1], sys.argv[2] * 100)"""
    place = tmp_path / "file.txt"
    writers = [subprocess.Popen([sys.executable, "-c", code, place, letter], cwd=ROOT / "scripts") for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert place.read_text() in {letter * 100 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [place]


def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    code = """if True:
        import resource
        from pretrain_llama.files import allow_open_files
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for soft in (300, 2000):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            allow_open_files(100)
            print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True)
    assert result.stdout.split() == ["556", "2000"], result.stderr
