"""The pre-flight on real .bin and .idx files, by megatron-core's own builder."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from check_mixture import as_text
from mixtures import RUN, compute, write_shard, write_shards
from pairs import write_random_pair
from pretrain_llama.errors import DataError
from pretrain_llama.mixture import preflight
from pretrain_llama.mixture.bounds import harmonic_number, is_possible
from pretrain_llama.mixture.largest_remainder import largest_remainder
from pretrain_llama.mixture.mixture import Mixture, TrainingLength
from project import SCRIPTS, Result, run_script


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
    assert report["off_by_more_than_one"] == {} and "by more than 1" not in result.stdout
    assert "40 prefixes, 500 sequences: built in" in result.stdout
    assert "open files: 240 in each process of Megatron-LM" in result.stdout
    assert [path.name for path in (mixed / "check").iterdir()] == ["check_mixture.json"], "the index is temporary"
    assert not list((mixed / "indexed").glob("**/cache"))


def test_any_blend_draws_within_one_of_what_is_wanted(mixture: Mixture, mixed: Path) -> None:
    from pretrain_llama.mixture import megatron_blend

    prefixes = [str(mixed / "indexed" / name) for name in mixture.by_name]
    random = np.random.default_rng(1)
    for sequences in (1, 7, 333, 2_000):
        weights = random.pareto(0.7, len(prefixes)) + 1e-6
        probabilities = (weights / weights.sum()).tolist()
        built = megatron_blend.build(prefixes, probabilities, sequences, 16, "100,0,0", mixed)
        assert built.drawn.sum() == sequences
        assert np.abs(built.drawn - largest_remainder(probabilities, sequences)).max() <= 1


# Of shards that weigh 76, 1, 4 and 1: the first waits while the last two draw level.
FAR_WEIGHTS, FAR_SEQUENCES, FAR_DRAWN, FAR_WANTED = [76, 1, 4, 1], 34, [30, 1, 2, 1], [32, 0, 2, 0]


def test_a_blend_may_be_off_by_two_and_says_so(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path / "indexed", "en_books_x", n, [100] * w) for n, w in enumerate(FAR_WEIGHTS)]
    training = {"iterations": FAR_SEQUENCES, "global_batch_size_sequences": 1}
    run = RUN | {"training": RUN["training"] | training}
    computed = compute(tmp_path, signature=shards, ratio={"books": 1}, shares={"en": 1}, mixture={}, run=run)
    assert computed.returncode == 0, computed.stderr
    result = check(tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "check" / "check_mixture.json").read_text())
    assert list(report["drawn"].values()) == FAR_DRAWN
    assert report["largest_difference"] == 2
    first = shards[0].removesuffix(".bin")
    assert report["off_by_more_than_one"] == {first: -2}
    assert f"by more than 1 in 1 of 4 shards:\n  {first}: 30 drawn, 32 wanted\n" in result.stdout


def test_every_blend_of_the_compiled_helper_is_within_the_bounds_at_every_length() -> None:
    from pretrain_llama.training.data.blend import blend_indices

    random = np.random.default_rng(2)
    furthest_behind = 0.0
    for number in range(300):
        shards, sequences = int(random.integers(1, 80)), int(random.integers(1, 1_000))
        weights = random.pareto(0.7, shards) + 1e-6 if number % 2 else random.integers(1, 40, shards) / 1.0
        probabilities = weights / weights.sum()
        shard_of, _ = blend_indices(probabilities.tolist(), sequences)
        drawn = np.cumsum(shard_of[:, None] == np.arange(shards), axis=0)  # (sequences, shards), after each draw
        behind = probabilities * np.arange(1, sequences + 1)[:, None] - drawn
        harmonic = harmonic_number(shards)
        assert behind.min() >= -1 - 1e-9
        assert (behind <= harmonic - 1 + probabilities + 1e-9).all()
        furthest_behind = max(furthest_behind, float(behind.max()))
        wanted = largest_remainder(probabilities.tolist(), sequences)
        ours = zip(drawn[-1].tolist(), wanted, probabilities.tolist(), strict=True)
        assert all(is_possible(*shard, harmonic) for shard in ours)
    assert furthest_behind > 1.2, "some shards wait for long"


def test_the_bounds_are_narrow() -> None:
    harmonic = harmonic_number(40)
    assert harmonic == pytest.approx(4.278543, abs=1e-6)
    possible = [is_possible(drawn, 10, 0.1, harmonic) for drawn in range(3, 15)]
    assert possible == [False, False, False, *[True] * 6, False, False, False]


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
    equal = preflight.megatron_blend.Blend(np.full(40, 500 // 40), 0.1, 1)
    monkeypatch.setattr(preflight.megatron_blend, "build", lambda *_: equal)
    with pytest.raises(DataError, match=r": 12 sequences drawn, \d+ wanted"):
        preflight.check(mixture, mixed / "indexed", "100,0,0", mixed)


def damaged(folder: Path, mixed: Path) -> Path:
    """A copy of the indexed folder, to be damaged."""
    for path in (mixed / "indexed").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rewrite(prefix: Path) -> None:
    write_random_pair(prefix, [30, 40])


FIRST = "ar_news_daily_split_0003"
DAMAGES = {
    "a shard is missing": (
        lambda prefix: [Path(f"{prefix}{end}").unlink() for end in (".bin", ".idx")],
        f"{FIRST}.* is missing",
    ),
    "a .bin without its .idx": (lambda prefix: Path(f"{prefix}.idx").unlink(), f"{FIRST}.*.bin has no .idx"),
    "an .idx without its .bin": (lambda prefix: Path(f"{prefix}.bin").unlink(), f"{FIRST}.*.idx has no .bin"),
    "other counts than in the name": (rewrite, f"{FIRST}.* holds dc=2 sc=2 tc=70, the .idx tc=70"),
    "a stale pair under other counts": (
        lambda prefix: write_shard(prefix.parent, "ar_news_daily", 3, [50]),
        f"{FIRST}_text_document_dc=1_sc=1_tc=50 and {FIRST}.* are one shard under two counts",
    ),
    "an .idx that was cut": (
        lambda prefix: Path(f"{prefix}.idx").write_bytes(Path(f"{prefix}.idx").read_bytes()[:40]),
        f"{FIRST}.* holds dc=9 sc=9 tc=1039, the .idx tc=",
    ),
    "an .idx that is none": (lambda prefix: Path(f"{prefix}.idx").write_bytes(b"no index"), "is no Megatron index"),
    "a .bin that was cut": (
        lambda prefix: Path(f"{prefix}.bin").write_bytes(b"12"),
        f"{FIRST}.* holds dc=9 sc=9 tc=1, the .idx tc=1039",
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


def repeated(mixture: Mixture, shards: int) -> Mixture:
    return replace(mixture, shards=[replace(mixture.shards[0], probability=1 / shards)] * shards)


UNFIT = {
    "a weight of 0": (lambda mixture: changed(mixture, 0.0), "has probability 0.0"),
    "rows changed by hand": (lambda mixture: changed(mixture, 0.5), "sum to .*: some were changed by hand"),
    "too many datasets": (
        lambda mixture: repeated(mixture, 32_767),
        "32,767 shards; megatron-core blends at most 32,766",
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


def test_as_many_datasets_as_megatron_blends_are_no_problem(mixture: Mixture, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):  # which is looked at after their number
        preflight.check(repeated(mixture, preflight.MOST_DATASETS), tmp_path, "100,0,0", tmp_path)


def test_every_split_that_is_used_needs_a_sequence_of_every_shard(mixture: Mixture, mixed: Path) -> None:
    assert preflight.check(mixture, mixed / "indexed", "50,50,0", mixed).largest_difference <= 1
    with pytest.raises(DataError, match="has 0 tokens for validation; one sequence takes 21") as error:
        preflight.check(mixture, mixed / "indexed", "9998,1,1", mixed)
    assert "use fewer splits, or join the shards" in str(error.value)


@pytest.mark.parametrize("split", ["0,1,0", "a,b", "1,2,3,4", ""])
def test_a_split_is_up_to_three_numbers(mixed: Path, split: str) -> None:
    result = check(mixed, "--split", split)
    assert result.returncode == 2
    assert f"argument --split: {split!r} is not one to three numbers, as 99,1,0, the first above 0" in result.stderr


def test_too_few_open_files_are_told_before_megatron_opens_them(mixed: Path) -> None:
    program = [sys.executable, str(SCRIPTS / "check_mixture.py"), "--mixture", str(mixed / "out")]
    paths = ["--indexed", str(mixed / "indexed"), "--output", str(mixed / "x.json")]
    command = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash", *program, *paths]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "40 shards and validation sets need 376 open files, 200 are allowed" in result.stderr
    assert "raise the hard limit of open files" in result.stderr


def test_too_few_open_files_for_megatron_lm_are_a_warning(mixed: Path) -> None:
    program = [sys.executable, str(SCRIPTS / "check_mixture.py"), "--mixture", str(mixed / "out")]
    paths = ["--indexed", str(mixed / "indexed"), "--output", str(mixed / "y.json")]
    command = ["bash", "-c", 'ulimit -Sn 400; exec "$@"', "bash", *program, *paths]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "ulimit -n here: 400 allowed\n" in result.stdout
    warning = (
        "warning: each process of Megatron-LM needs 496 open files, 400 are allowed here: where it runs, ulimit -n"
    )
    assert warning in result.stdout


@pytest.mark.parametrize(("limit", "allowed"), [(resource.RLIM_INFINITY, None), (496, 496)])
def test_enough_open_files_are_no_warning(
    mixture: Mixture, mixed: Path, monkeypatch: pytest.MonkeyPatch, limit: int, allowed: int | None
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    report = preflight.check(mixture, mixed / "indexed", "100,0,0", mixed)
    assert (report.open_files_allowed, report.warning) == (allowed, "")
    assert ("nothing limits them" in as_text(report, mixture)) == (allowed is None)


def test_many_prefixes_are_worth_joining() -> None:
    report = preflight.Report(2_000, 12, 10**6, 12_000, 20_000, 2.5, 10**6, 1, {}, {})
    assert "2,000 prefixes took megatron-core 2.5 s, and each process of Megatron-LM holds 12,000" in report.advice
    assert "would be 12 prefixes" in report.advice
    assert replace(report, prefixes=40).advice == replace(report, domains=1_500).advice == ""
