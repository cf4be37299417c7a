"""verify_run: a run folder is as it was written, or what was changed in it is named; and what else a folder holds."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.files import sha256
from project import ROOT, Project, jsonl, run_script

BOOKS = "en_books_tales_split_0000"


@pytest.fixture
def folder(built: Project, tmp_path: Path) -> Path:
    return built.copied_run(tmp_path / "run")


def verify(folder: Path, *options: str, code: int) -> str:
    result = run_script("verify_run.py", folder, *options)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout


def failures(said: str) -> list[str]:
    """The checks that failed."""
    return re.findall(r"^FAIL\s+(.*?):", said, re.M)


def change(path: Path, how: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    how(value)
    path.write_text(json.dumps(value))


def make_fit(folder: Path, *names: str) -> None:
    """Give files in the manifest the hashes that they have now, as somebody would who hides a change."""
    change(folder / "manifest.json", lambda manifest: manifest["files"].update({n: sha256(folder / n) for n in names}))


def test_an_untouched_folder_is_verified(folder: Path) -> None:
    said = verify(folder, "--full", code=0)
    assert said.count("\n") == said.count("ok  ") == 9
    assert "ok               contents of the shards: 4 shards have their hashes" in said
    assert "ok               probabilities: 4 follow from the signature" in said


def test_a_changed_ratio_is_found_however_well_it_is_hidden(folder: Path) -> None:
    change(folder / "sources" / "data_ratio.json", lambda rates: rates.update(en={"books": 1}, ar={"news": 2.5}))
    change(folder / "sources" / "lang_prob.json", lambda shares: shares.update(ar=0.4))
    said = verify(folder, code=1)
    assert failures(said) == ["files", "probabilities"]
    assert "sources/data_ratio.json was changed" in said
    make_fit(folder, "sources/data_ratio.json", "sources/lang_prob.json")
    said = verify(folder, code=1)
    assert failures(said) == ["probabilities"]
    assert re.search(r"ar_news_daily_split_0000\S*: 0.3 in mixture/ -> 0.36\d* from sources/", said)


def test_a_changed_mixture_is_found_however_well_it_is_hidden(folder: Path) -> None:
    name = next(path.stem for path in (folder / "data").glob(f"{BOOKS}*.bin"))
    change(folder / "mixture" / "probabilities.json", lambda mixture: mixture["probabilities"].update({name: 0.25}))
    make_fit(folder, "mixture/probabilities.json")
    assert failures(verify(folder, code=1)) == ["probabilities", "identity"]


@pytest.mark.parametrize("suffix", [".idx", ".bin"])
def test_one_changed_byte_of_a_shard_is_found(folder: Path, suffix: str) -> None:
    path = next((folder / "data").glob(f"{BOOKS}*{suffix}"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # the original's other name
    path.write_bytes(content)
    if suffix == ".bin":
        assert failures(verify(folder, code=0)) == []
        said = verify(folder, "--full", code=1)
        assert failures(said) == ["contents of the shards"]
    else:
        said = verify(folder, code=1)
        assert failures(said) == ["files", "identity"]
    assert f"data/{path.name} was changed" in said


def test_one_changed_byte_of_a_weight_is_found(folder: Path) -> None:
    path = max((folder / "checkpoint" / "release").glob("*.distcp"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    assert failures(verify(folder, code=0)) == []
    assert failures(verify(folder, "--full", code=1)) == ["contents of the checkpoint"]
    path.write_bytes(content[:-1])
    said = verify(folder, code=1)
    assert failures(said) == ["sizes", "checkpoint"]
    assert "the checkpoint is not what its passport says" in said


def test_missing_and_added_shards_are_found(folder: Path) -> None:
    path = next((folder / "data").glob(f"{BOOKS}*.bin"))
    path.rename(path.with_name("en_books_other_0000_text_document_dc=1_sc=1_tc=1.bin"))
    said = verify(folder, code=1)
    assert failures(said) == ["sizes", "counts of the shards"]
    assert re.search(rf"{BOOKS}\S*.bin: [\d,]+ bytes -> missing", said)
    assert "en_books_other_0000_text_document_dc=1_sc=1_tc=1: is in data/, and not in the mixture" in said


def test_a_shard_with_other_counts_than_its_name_is_found(folder: Path) -> None:
    first, second = sorted((folder / "data").glob("en_books_tales_split_000[01]*.bin"))
    for suffix in (".bin", ".idx"):
        first.with_suffix(suffix).unlink()
        shutil.copy(second.with_suffix(suffix), first.with_suffix(suffix))
    said = verify(folder, code=1)
    assert "counts of the shards" in failures(said)
    assert re.search(rf"{first.stem}: holds dc=\d+ ", said)


def test_a_changed_package_is_named(folder: Path) -> None:
    locks = ["environment/requirements.lock", "sources/requirements.lock"]
    for lock in locks:
        text = (folder / lock).read_text()
        (folder / lock).write_text(re.sub(r"^orjson==.*$", "orjson==1.0.0", text, flags=re.M))
    make_fit(folder, *locks)
    said = verify(folder, code=1)
    assert failures(said) == ["packages"]
    assert re.search(r"orjson: 1\.0\.0 -> \d+\.\d+", said)


def test_a_folder_without_its_signature_says_what_it_cannot_tell(folder: Path) -> None:
    (folder / "sources" / "data_signature.json").unlink()
    change(folder / "manifest.json", lambda manifest: manifest["files"].pop("sources/data_signature.json"))
    change(folder / "manifest.json", forget_the_hashes)
    said = verify(folder, "--full", code=2)
    assert "could not check  probabilities: the folder has no data signature" in said
    assert "could not check  contents of the shards: 4 of 4 shards have no recorded hash" in said


def forget_the_hashes(manifest: dict[str, Any]) -> None:
    manifest["blake3"] = {}
    for content in manifest["identity"]["data"].values():
        content["bin"] = None


def test_choices_that_do_not_fit_the_signature_any_more_are_said(folder: Path) -> None:
    (folder / "sources" / "data_ratio.json").write_text('{"en": {"boks": 1}, "ar": {"news": 2}}')
    said = verify(folder, code=1)
    assert failures(said) == ["files", "probabilities"]
    assert "they cannot be derived: domain 'books' of language 'en' has no rate" in said or "boks" in said


def test_a_missing_mixture_is_said(folder: Path) -> None:
    (folder / "mixture" / "probabilities.json").unlink()
    assert failures(verify(folder, code=1)) == ["files", "probabilities", "identity"]


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    result = run_script("verify_run.py", tmp_path)
    assert result.returncode == 2
    assert "manifest.json is missing" in result.stderr


def test_megatron_lms_parser_is_asked_where_it_is_there(folder: Path, tmp_path: Path) -> None:
    said = verify(folder, "--megatron-lm", str(tmp_path), code=1)
    assert failures(said) == ["arguments for Megatron-LM"] and "it has no megatron/training/arguments.py" in said
    parser = tmp_path / "megatron" / "training" / "arguments.py"
    parser.parent.mkdir(parents=True)
    parser.write_text("validate_args = None\ndef parse_args(): raise SystemExit('unrecognized arguments: --swiglu')")
    said = verify(folder, "--megatron-lm", str(tmp_path), code=1)
    assert "Python imports the parser of another one" in said, "megatron-core's, of which that folder's is no rival yet"
    (parser.parent / "__init__.py").touch()
    said = verify(folder, "--megatron-lm", str(tmp_path), code=1)
    assert "does not take the arguments: unrecognized arguments: --swiglu" in said


def test_the_two_commands_of_the_readme_reproduce_the_run(built: Project, tmp_path: Path) -> None:
    """In a copy elsewhere, with the packages of this environment, and nothing of the repository."""
    copy = built.copied_run(tmp_path / "some where" / "else")
    commands = re.search(r"```bash\n(.*?)```", (copy / "README.md").read_text(), re.S)[1]
    assert [line.split()[0] for line in commands.splitlines()] == ["python", "bash"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    log = "output/log.jsonl"
    original = built.folder / "results" / "runs" / "tiny"
    losses = [[json.loads(line)["loss"] for line in (run / log).read_text().splitlines()] for run in (original, copy)]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_the_folder_holds_all_that_it_was_made_from(built: Project) -> None:
    folder = built.folder / "results" / "runs" / "tiny"
    sources = {path.name for path in (folder / "sources").iterdir()}
    decided = {"run.yaml", "data_ratio.json", "lang_prob.json", "exclude_iterator.json", "config.yaml", "corpora.tsv"}
    assert decided | {"data_signature.json", "conservation.json", "requirements.lock"} <= sources
    kept = {f"sources/plan/{corpus}.json" for corpus in ("ar_news_daily", "en_books_tales")}
    assert {path.relative_to(folder).as_posix() for path in folder.glob("sources/plan/*")} == kept
    plan = json.loads((folder / "sources" / "plan" / "ar_news_daily.json").read_text())
    assert plan == json.loads((built.folder / "results" / "plan" / "ar_news_daily.json").read_text())
    assert list(plan["files"]) == ["vendor/ar_news_daily/a.jsonl"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert kept | {"sources/conservation.json"} <= manifest["files"].keys()
    made = {"README.md", "launch.sh", "launch.sbatch", "job.yaml", "megatron_lm_arguments.sh", "environment/Dockerfile"}
    assert made | {"mixture/iterator_prob.sh", "checkpoint/conversion.json"} <= manifest["files"].keys()
    described = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert not described or manifest["commit"].startswith(described)
    assert (folder / "sources" / "git.diff").exists() == ("-dirty" in (manifest["commit"] or ""))


def test_a_delivery_that_the_mixture_leaves_out_is_told_and_refuses_no_run(copy: Project) -> None:
    copy.run["on_change"] = "refuse"
    copy.save()
    copy.vendor("en_books_tales/b.jsonl", jsonl([f"A later tale, of {n} ships." for n in range(20)]))
    copy.choose("exclude_iterator.json", {"exclude_iterator_name": ["en_books_tales_split_0003"]})
    result = copy.snakemake("results/runs/tiny/output/finished.json")
    assert result.returncode == 0, result.stdout + result.stderr
    folder = copy.folder / "results" / "runs" / "tiny"
    plan = json.loads((folder / "sources" / "plan" / "en_books_tales.json").read_text())
    assert "vendor/en_books_tales/b.jsonl" in plan["files"]
    assert len(list(folder.glob("output*"))) == 1, "nothing began again"


def test_the_plans_of_corpora_that_are_not_sampled_stay_out(copy: Project) -> None:
    copy.choose("exclude_iterator.json", {"exclude_iterator_name": ["ar_news_daily_split_*"]})
    copy.choose("lang_prob.json", {"en": 1.0})
    copy.choose("data_ratio.json", {"en": {"books": 1}})
    copy.run["mixture"] = {"omissions": "list"}
    copy.save()
    result = copy.snakemake("results/runs/tiny/manifest.json")
    assert result.returncode == 0, result.stdout + result.stderr
    sources = copy.folder / "results" / "runs" / "tiny" / "sources"
    assert [path.name for path in (sources / "plan").iterdir()] == ["en_books_tales.json"]


def test_the_image_is_built_from_what_is_there_and_pinned() -> None:
    dockerfile = (ROOT / "envs" / "training" / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+\.\d+-\S+\nFROM \$\{BASE\}$", dockerfile, re.M), "an exact tag"
    assert re.search(r"^COPY (.*) /build/$", dockerfile, re.M)[1] == "requirements.lock install.py"
    image, here = (pins(ROOT / "envs" / part / "requirements.lock") for part in ("training", "."))
    asked = (ROOT / "envs" / "training" / "requirements.in").read_text().splitlines()
    named = {re.split("[=~]=", line)[0].replace(".", "-") for line in asked if not line.startswith("#")}
    assert named <= image.keys()
    others = {name for name in image.keys() & here.keys() if image[name] != here[name]}
    assert others == {"azure-storage-blob", "python-dateutil"}, "make lock"


def pins(lock: Path) -> dict[str, str]:
    """The versions of a lock, by package; every line has one."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    return dict(line.split("==") for line in lines)
