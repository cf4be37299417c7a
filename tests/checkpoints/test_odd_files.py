"""Files that are damaged, or another's under the same name: each is a message, in bounded time and memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamas import convert, make_llama
from odd_files import READERS
from pretrain_llama import mappings
from pretrain_llama.errors import ConfigError, shown
from pretrain_llama.files import sha256, write_json
from project import ROOT

SAVED = ROOT / "tests" / "data" / "megatron_lm"  # by Megatron-LM itself
FOLDERS = {
    "padding": "converted",
    "passport": "converted",
    "verification": "converted",
    "index": "index",
    "tracker": "torch_tp2",
    "common": "rope_factor_32",
    "metadata": "main_torch_dist_tp2",
    "data": "main_torch_dist_tp2",
    "torch": "torch_tp2",
    "format": "lost",
}
# How many variants say what the valid file says, at most: keys that no reader looks at, and bits that mean nothing.
READ = {
    "config": 200,
    "padding": 250,
    "verification": 20,
    "index": 40,
    "common": 60,
    "data": 40,
    "metadata": 8,
    "torch": 50,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each kind, by name."""
    folder = tmp_path_factory.mktemp("odd")
    small = {"hidden_size": 16, "intermediate_size": 32}
    source = make_llama(folder / "source", **small)
    make_llama(folder / "index", shards="20KB", **small)
    converted = convert(source, folder / "converted")
    write_json(converted / "verification.json", {"conversion": sha256(converted / "conversion.json"), "logits": []})
    for saved in ("torch_tp2", "rope_factor_32", "main_torch_dist_tp2"):
        shutil.copytree(SAVED / saved, folder / saved)
    shutil.copytree(SAVED / "main_torch_dist_tp2", folder / "lost")
    (folder / "lost" / "iter_0000002" / ".metadata").unlink()
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_an_odd_file_is_a_message(folders: Path, tmp_path: Path, reader: str) -> None:
    folder = shutil.copytree(folders / FOLDERS.get(reader, "source"), tmp_path / "copy")
    command = [sys.executable, str(ROOT / "tests" / "support" / "odd_files.py"), reader, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    ends = json.loads(result.stdout)
    tracebacks = [f"{name}: {end}" for name, end in ends.items() if end.startswith("Traceback")]
    assert not tracebacks, "\n".join(tracebacks[:3])
    read = [name for name, end in ends.items() if end == "read"]
    assert ("as it was" in read) is (reader != "format")
    assert len(read) <= READ.get(reader, 1), read
    assert len(ends) > (19 if reader == "tracker" else 50)


def test_a_value_of_any_depth_and_length_is_shown_short() -> None:
    shared: list = [1]
    for _ in range(100):
        shared = [shared, shared]
    for value in (shared, "x" * 10**6, 10**5000, {"a": {"b": {"c": {"d": [1] * 10**5}}}}, b"x" * 10**6):
        assert 0 < len(shown(value)) < 300
    assert (shown(None), shown((8, 0)), shown("x"), shown(1e-5)) == ("None", "(8, 0)", "'x'", "1e-05")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"no object, but \[1\]"),
        ('{"a": NaN}', "no JSON: NaN is no number in JSON"),
        ('{"a": ' * 10_000 + "1" + "}" * 10_000, "no JSON: nested too deeply"),
        ('{"a": 1, "a": 2}', "key 'a' stands there twice"),
    ],
)
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        mappings.read_object(tmp_path / "odd.json")
