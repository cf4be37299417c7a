"""The pre-flight on real .bin and .idx files, by megatron-core's own builder, and joined pairs, as its own would be."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixtures import compute
from pretrain_llama.errors import DataError
from pretrain_llama.mixture import preflight
from pretrain_llama.mixture.mixture import Mixture, TrainingLength
from pretrain_llama.tokenization.indexed import HEADER, MAGIC, writing_indexed
from pretrain_llama.tokenization.joining import join
from project import SCRIPTS, Result, run_script

CORPORA = ("en_books_tales", "en_books_poems", "en_web_crawl", "ar_news_daily")


def write_pair(prefix: Path, lengths: list[int], dtype: type = np.uint16) -> None:
    ids = np.random.default_rng(0).integers(3, 500, sum(lengths)).astype(dtype)
    with writing_indexed(prefix, np.dtype(dtype)) as writer:
        writer.add_documents(ids, np.array(lengths, int))


def write_shard(folder: Path, corpus: str, number: int, lengths: list[int]) -> str:
    """Write a counted pair; return its name in a signature."""
    counts = f"dc={len(lengths)}_sc={len(lengths)}_tc={sum(lengths)}"
    name = f"{corpus}_split_{number:04d}_text_document_{counts}"
    write_pair(folder / name, lengths)
    return f"{name}.bin"


def write_shards(folder: Path, shards: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [
        write_shard(folder, CORPORA[n % 4], n, random.integers(20, 200, int(random.integers(5, 60))).tolist())
        for n in range(shards)
    ]


def check(folder: Path, *args: object) -> Result:
    output = ["--output", folder / "check" / "check_mixture.json"]
    return run_script("check_mixture.py", "--mixture", folder / "out", "--indexed", folder / "indexed", *output, *args)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 shards in indexed/, and a mixture of them in out/."""
    folder = tmp_path_factory.mktemp("mixed")
    names = write_shards(folder / "indexed", 40)
    ratio = {"en": {"books": 1.5, "web": 1}, "ar": {"news": 3}}
    result = compute(folder, signature=names, ratio=ratio, shares={"en": 0.7, "ar": 0.3}, mixture={})
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def mixture(mixed: Path) -> Mixture:
    return Mixture.read(mixed / "out")


def test_the_program_reports_what_megatron_draws(mixed: Path) -> None:
    result = check(mixed)
    assert result.returncode == 0, result.stderr
    report = json.loads((mixed / "check" / "check_mixture.json").read_text())
    wanted = json.loads((mixed / "out" / "probabilities.json").read_text())["sequences"]
    assert report["drawn"].keys() == wanted.keys()
    assert sum(report["drawn"].values()) == sum(wanted.values()) == 500
    differences = [abs(report["drawn"][name] - count) for name, count in wanted.items()]
    assert max(differences) == report["largest_difference"] <= 1
    assert "40 prefixes, 500 sequences: built in" in result.stdout
    assert "open files: 240 in each process of Megatron-LM" in result.stdout
    assert [path.name for path in (mixed / "check").iterdir()] == ["check_mixture.json"], "the index is temporary"
    assert not list((mixed / "indexed").glob("**/cache"))


def test_any_blend_draws_within_one_of_what_is_wanted(mixture: Mixture, mixed: Path) -> None:
    from pretrain_llama.mixture import blend
    from pretrain_llama.mixture.counting import largest_remainder

    prefixes = [str(mixed / "indexed" / name) for name in mixture.by_name]
    random = np.random.default_rng(1)
    for sequences in (1, 7, 333, 2_000):
        weights = random.pareto(0.7, len(prefixes)) + 1e-6
        probabilities = (weights / weights.sum()).tolist()
        built = blend.build(prefixes, probabilities, sequences, 16, "100,0,0", mixed)
        assert built.drawn.sum() == sequences
        assert np.abs(built.drawn - largest_remainder(probabilities, sequences)).max() <= 1


def test_the_outputs_are_blends_that_megatron_reads(mixed: Path) -> None:
    from megatron.core.datasets.utils import get_blend_from_list

    probabilities = json.loads((mixed / "out" / "probabilities.json").read_text())["probabilities"]
    for words in (
        json.loads((mixed / "out" / "blend.json").read_text())["train"],
        (mixed / "out" / "data_path.txt").read_text().split(),
    ):
        names, weights = get_blend_from_list(words)
        assert dict(zip(names, weights, strict=True)) == probabilities


def test_a_blend_that_draws_otherwise_is_refused(
    mixture: Mixture, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = preflight.blend.Blend(np.full(40, 500 // 40), 0.1, 1)
    monkeypatch.setattr(preflight.blend, "build", lambda *_: equal)
    with pytest.raises(DataError, match=r": 12 sequences drawn, \d+ wanted"):
        preflight.check(mixture, mixed / "indexed", "100,0,0", mixed)


def damaged(folder: Path, mixed: Path) -> Path:
    """A copy of the indexed folder, to be damaged."""
    for path in (mixed / "indexed").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rewrite(prefix: Path) -> None:
    write_pair(prefix, [30, 40])


FIRST = "ar_news_daily_split_0003"
DAMAGES = {
    "a shard is missing": (
        lambda prefix: [Path(f"{prefix}{end}").unlink() for end in (".bin", ".idx")],
        f"{FIRST}.* is missing",
    ),
    "a .bin without its .idx": (lambda prefix: Path(f"{prefix}.idx").unlink(), f"{FIRST}.*.bin has no .idx"),
    "an .idx without its .bin": (lambda prefix: Path(f"{prefix}.bin").unlink(), f"{FIRST}.*.idx has no .bin"),
    "other counts than in the name": (rewrite, f"{FIRST}.* holds dc=2 sc=2, the .bin tc=70, the .idx tc=70"),
    "a stale pair under other counts": (
        lambda prefix: write_shard(prefix.parent, "ar_news_daily", 3, [50]),
        f"{FIRST}_text_document_dc=1_sc=1_tc=50 and {FIRST}.* are one shard under two counts",
    ),
    "an .idx that was cut": (
        lambda prefix: Path(f"{prefix}.idx").write_bytes(Path(f"{prefix}.idx").read_bytes()[:40]),
        f"{FIRST}.* holds dc=9 sc=9, the .bin tc=1039, the .idx tc=",
    ),
    "an .idx that is none": (lambda prefix: Path(f"{prefix}.idx").write_bytes(b"no index"), "is no Megatron index"),
    "a .bin that was cut": (
        lambda prefix: Path(f"{prefix}.bin").write_bytes(b"12"),
        f"{FIRST}.* holds dc=9 sc=9, the .bin tc=1, the .idx tc=1039",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_files_that_are_not_the_mixtures_are_refused(tmp_path: Path, mixture: Mixture, mixed: Path, case: str) -> None:
    damage, problem = DAMAGES[case]
    folder = damaged(tmp_path, mixed)
    damage(folder / next(iter(mixture.by_name)))
    with pytest.raises(DataError, match=problem):
        preflight.check(mixture, folder, "100,0,0", tmp_path)


def changed(mixture: Mixture, probability: float) -> Mixture:
    first, *others = mixture.shards
    return replace(mixture, shards=[replace(first, probability=probability), *others])


UNFIT = {
    "a weight of 0": (lambda mixture: changed(mixture, 0.0), "has probability 0.0"),
    "rows changed by hand": (lambda mixture: changed(mixture, 0.5), "sum to .*: some were changed by hand"),
    "too many datasets": (
        lambda mixture: replace(mixture, shards=[replace(mixture.shards[0], probability=2.0**-15)] * 2**15),
        "32,768 shards; megatron-core blends at most 32,766",
    ),
    "no sequence length": (
        lambda mixture: replace(mixture, length=TrainingLength(10_000, 1)),
        "the length of a sequence is not known",
    ),
    "sequences longer than a shard": (
        lambda mixture: replace(mixture, length=TrainingLength(10, 1_500)),
        r"tokens for training; one sequence takes 1,501\n(.*\n){4}  and \d+ more\n",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_megatron_cannot_train_on_is_refused(mixture: Mixture, mixed: Path, case: str) -> None:
    change, problem = UNFIT[case]
    with pytest.raises(DataError, match=problem):
        preflight.check(change(mixture), mixed / "indexed", "100,0,0", mixed)


def test_every_split_that_is_used_needs_a_sequence_of_every_shard(mixture: Mixture, mixed: Path) -> None:
    assert preflight.check(mixture, mixed / "indexed", "50,50,0", mixed).largest_difference <= 1
    with pytest.raises(DataError, match="has 0 tokens for validation; one sequence takes 21") as error:
        preflight.check(mixture, mixed / "indexed", "9998,1,1", mixed)
    assert "use fewer splits, or join the shards" in str(error.value)


@pytest.mark.parametrize("split", ["0,1,0", "a,b", "1,2,3,4", ""])
def test_a_split_is_up_to_three_numbers(mixed: Path, split: str) -> None:
    result = check(mixed, "--split", split)
    assert result.returncode == 2
    assert f"invalid split value: {split!r}" in result.stderr


def test_too_few_open_files_are_told_before_megatron_opens_them(mixed: Path) -> None:
    program = [sys.executable, str(SCRIPTS / "check_mixture.py"), "--mixture", str(mixed / "out")]
    paths = ["--indexed", str(mixed / "indexed"), "--output", str(mixed / "x.json")]
    command = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash", *program, *paths]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "40 shards and validation sets need 376 open files, 200 are allowed" in result.stderr
    assert "raise the hard limit of open files" in result.stderr


def test_many_prefixes_are_worth_joining() -> None:
    report = preflight.Report(2_000, 12, 10**6, 12_000, 20_000, 2.5, 10**6, 1, {})
    assert "2,000 prefixes took megatron-core 2.5 s, and each process of Megatron-LM holds 12,000" in report.advice
    assert "would be 12 prefixes" in report.advice
    assert replace(report, prefixes=40).advice == replace(report, domains=1_500).advice == ""


def write_sequences(prefix: Path, documents: list[list[int]], dtype: type) -> None:
    """Write a pair whose documents have several sequences, with megatron-core's builder."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for lengths in documents:
        builder.add_document(np.arange(sum(lengths)).astype(dtype), lengths)
    builder.finalize(f"{prefix}.idx")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_joined_pairs_are_megatrons_to_the_byte(tmp_path: Path, dtype: type) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "empty", tmp_path / "c"]
    write_sequences(parts[0], [[3, 4], [5]], dtype)
    write_pair(parts[1], [7, 0, 900], dtype)
    write_pair(parts[2], [], dtype)
    write_sequences(parts[3], [[1], [2, 2, 2]], dtype)
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype)
    for part in parts:
        builder.add_index(str(part))
    builder.finalize(str(tmp_path / "theirs.idx"))
    join(parts, tmp_path / "ours")
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()


def join_program(folder: Path, *pairs: Path, shard: str = "en_books_joined_split_0000") -> Result:
    return run_script("join_indexed.py", "--shard", shard, "--output-dir", folder / "joined", *pairs)


def test_joined_shards_are_counted_and_can_be_trained_on(tmp_path: Path) -> None:
    names = write_shards(tmp_path / "indexed", 8)
    books = sorted((tmp_path / "indexed").glob("en_books_*"))
    assert len(books) == 8, "each of four pairs is named twice"
    result = join_program(tmp_path, *books)
    assert result.returncode == 0, result.stderr
    joined = [path.name for path in (tmp_path / "joined").glob("*.bin")]
    tokens = sum(int(name.split("_tc=")[1].removesuffix(".bin")) for name in names if "books" in name)
    assert joined[0].endswith(f"_tc={tokens}.bin")
    assert result.stdout == f"4 pairs joined: {tmp_path / 'joined' / joined[0].removesuffix('.bin')}\n"
    compute(tmp_path, signature=joined, ratio={"books": 1}, shares={"en": 1}, mixture={})
    checked = preflight.check(Mixture.read(tmp_path / "out"), tmp_path / "joined", "100,0,0", tmp_path)
    assert checked.drawn == {joined[0].removesuffix(".bin"): 500}


def test_pairs_that_do_not_belong_together_are_not_joined(tmp_path: Path) -> None:
    write_pair(tmp_path / "narrow", [3])
    write_pair(tmp_path / "wide", [3], np.int32)
    result = join_program(tmp_path, tmp_path / "narrow", tmp_path / "wide")
    assert "narrow holds uint16 ids, wide int32" in result.stderr
    web = tmp_path / write_shard(tmp_path, "en_web_crawl", 0, [3])
    result = join_program(tmp_path, web)
    assert "en_web_crawl_split_0000 is of en web, the joined shard of en books" in result.stderr
    for tokenizer in ("toy.01234567", "toy.89abcdef"):
        write_pair(tmp_path / tokenizer / "pair", [3])
    result = join_program(tmp_path, *tmp_path.glob("toy.*/pair.bin"))
    assert "shards of different tokenizers: toy.01234567, toy.89abcdef" in result.stderr
    result = join_program(tmp_path, tmp_path / "nothing")
    assert "its .bin or .idx is missing" in result.stderr
    (tmp_path / "narrow.idx").write_bytes(HEADER.pack(MAGIC, 1, 6, 0, 1))
    result = join_program(tmp_path, tmp_path / "narrow")
    assert "dtype code 6" in result.stderr
    assert result.returncode == 2
    assert not (tmp_path / "joined").exists()


def test_an_interrupted_join_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path / "a", [3])

    def full_disk(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr("pretrain_llama.tokenization.joining.copy_block", full_disk)
    with pytest.raises(OSError, match="no space"):
        join([tmp_path / "a"], tmp_path / "joined" / "b")
    assert not list((tmp_path / "joined").iterdir())
