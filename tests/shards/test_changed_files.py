"""Vendor files that were corrected, or are gone: only the shards that hold them are made anew."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain_llama.configuration import Corpus
from pretrain_llama.errors import DataError, OperatorError
from pretrain_llama.files import write_json
from pretrain_llama.shards import plan
from pretrain_llama.shards.planned import Plan, live_shards
from pretrain_llama.stores import source_file
from pretrain_llama.stores.locations import SourceFile
from project import deliver, jsonl, run_script

CORPUS = Corpus("en", "books", "tales", "", "text", "corpora.tsv:2")
TARGET = 1_000


def write(path: Path, lines: int, mark: str = "") -> SourceFile:
    return source_file(deliver(path, jsonl([f"A tale of {number} ships{mark}." for number in range(lines)])))


def files(folder: Path, **lines: int) -> list[SourceFile]:
    return [write(folder / f"{name}.jsonl", count) for name, count in lines.items()]


def none(_: Collection[str]) -> set[str]:
    return set()


def extended(planned: Plan, listing: list[SourceFile], finished: object = none, **more: object) -> Plan:
    return plan.extend(planned, listing, CORPUS, TARGET, finished=finished, **more)


def check_whole(planned: Plan) -> None:
    """Every byte of every file of a plan is in one shard of it."""
    taken: Counter[str] = Counter()
    for shard in live_shards(planned).values():
        assert shard["bytes"] == sum(part["stop"] - part["start"] for part in shard["ranges"])
        for part in shard["ranges"]:
            taken[part["path"]] += part["stop"] - part["start"]
    assert taken == {path: file["size_bytes"] for path, file in planned["files"].items()}


@pytest.mark.parametrize("lines", [1, 40, 300], ids=["shrank", "other text", "grew"])
def test_a_file_that_changed_is_planned_again_with_what_shared_its_shards(tmp_path: Path, lines: int) -> None:
    listing = files(tmp_path, a=40, b=40, c=40)
    before = extended(plan.empty(CORPUS), listing)
    listing[1] = write(tmp_path / "b.jsonl", lines, mark=", mended")
    after = extended(before, listing)
    check_whole(after)
    assert after["shards"][: len(before["shards"])] == before["shards"], "a split id is never used again"
    kept = [name for name in live_shards(before) if name in live_shards(after)]
    untouched = [
        name
        for name, shard in live_shards(before).items()
        if str(tmp_path / "b.jsonl") not in {part["path"] for part in shard["ranges"]}
    ]
    assert kept == untouched and kept, "the others stay"
    assert [entry["why"] for entry in after["history"]] == ["changed"]
    assert after["history"][0]["files"] == {listing[1].path: before["files"][listing[1].path]}
    assert plan.goes_on_from(before, after) and not plan.goes_on_from(after, before)
    assert extended(after, listing) == after


def test_a_file_that_vanished_leaves_the_others(tmp_path: Path) -> None:
    listing = files(tmp_path, a=40, b=40, c=40)
    after = extended(extended(plan.empty(CORPUS), listing), [listing[0], listing[2]])
    check_whole(after)
    assert list(after["files"]) == [listing[0].path, listing[2].path]


def test_a_file_of_a_finished_shard_is_named_with_the_command_that_takes_it(tmp_path: Path) -> None:
    listing = files(tmp_path, a=40, b=40)
    before = extended(plan.empty(CORPUS), listing)
    changed = [write(tmp_path / "a.jsonl", 10), listing[1]]
    first = plan.shard_names(before)[:1]
    with pytest.raises(DataError, match=r"(?s)a.jsonl changed, and 1 of the \d shards .*redeliver.py en_books_tales '"):
        extended(before, changed, lambda shards: {*first} & {*shards})
    with pytest.raises(DataError, match=r"a.jsonl vanished, and 1 of"):
        extended(before, listing[1:], lambda shards: {*first} & {*shards})
    after = extended(before, changed, lambda shards: {*first} & {*shards}, redelivered=[listing[0].path])
    check_whole(after)
    assert after["history"][0]["why"] == "redelivered"


def test_what_holds_no_text_any_more_is_refused(tmp_path: Path) -> None:
    before = extended(plan.empty(CORPUS), files(tmp_path, a=40))
    (tmp_path / "a.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="no file of the corpus holds any text"):
        extended(before, [source_file(tmp_path / "a.jsonl")])


def test_a_plan_that_another_run_changed_is_not_overwritten(tmp_path: Path) -> None:
    listing = files(tmp_path, a=40, b=40)
    before = extended(plan.empty(CORPUS), listing)
    after = extended(before, [write(tmp_path / "a.jsonl", 3), listing[1]])
    plan.record(tmp_path / "plan.json", after)
    with pytest.raises(OperatorError, match="another run recorded a plan"):
        plan.record(tmp_path / "plan.json", before)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.data())
def test_whatever_leaves_and_comes_every_byte_is_in_one_shard(sizes: list[int], data: st.DataObject) -> None:
    listing = [SourceFile(f"az://c/{n}.jsonl", size, 1, etag=f"{n}") for n, size in enumerate(sizes)]

    def size_of(file: SourceFile, _: str) -> object:
        return plan.TextSize(file.size_bytes)

    planned = plan.extend(plan.empty(CORPUS), listing, CORPUS, 50, size_of, none)
    for turn in range(3):
        chosen = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
        gone = data.draw(st.sets(st.integers(1, len(sizes) - 1) if len(sizes) > 1 else st.nothing()))
        listing = [
            SourceFile(f.path, data.draw(st.integers(1, 200)), 1, etag=f"{f.path} {turn}") if n in chosen else f
            for n, f in enumerate(listing)
            if n not in gone
        ]
        planned = plan.extend(planned, listing, CORPUS, 50, size_of, none)
        check_whole(planned)


def test_the_program_shows_what_leaves_and_what_is_planned(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    listing = files(tmp_path / "vendor", a=40, b=40)
    table = f"language\tdomain\tsubdomain\tsource\ttext_key\nen\tbooks\ttales\t{tmp_path}/vendor/*\ttext\n"
    (tmp_path / "config/corpora.tsv").write_text(table)
    config = {"corpora": "config/corpora.tsv", "shard_size_bytes": TARGET, "runs": []}
    write_json(
        tmp_path / "config/config.yaml", config | {"tokenizers": {"toy": {"model": "m"}}, "checkpoints": {"t": "t"}}
    )
    before = extended(plan.empty(CORPUS), listing)
    plan.record(tmp_path / "results/plan/en_books_tales.json", before)
    receipt = tmp_path / f"results/tokenized/toy.01234567/{plan.shard_names(before)[0]}_text_document.receipt.json"
    receipt.parent.mkdir(parents=True)
    receipt.write_text("{}")
    command = ["redeliver.py", "en_books_tales", listing[0].path]
    unchanged = run_script(*command, cwd=tmp_path)
    assert unchanged.returncode == 2 and "holds what it held" in unchanged.stderr
    write(tmp_path / "vendor/a.jsonl", 3)
    result = run_script(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"leaves the plan: {plan.shard_names(before)[0]}, which is finished\n" in result.stdout
    check_whole(plan.load(tmp_path / "results/plan/en_books_tales.json", CORPUS))
