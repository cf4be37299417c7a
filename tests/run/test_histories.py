"""Whatever happens to a training, each sequence is trained on once, or left out by a rule; and all figures agree."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from histories import IDS, LEFT_OUT, LENGTH, STEP, Killed, Life
from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.names import parse_counted
from pretrain_llama.run.account import read_account, read_domains
from pretrain_llama.run.checkpoint_files import damage, set_aside
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import CONSUMPTION, NAME, read_log
from pretrain_llama.run.sizes import batch_size
from pretrain_llama.training.processes import process_groups

LIVES, EVENTS = 30, 14
# What a training may say, and then is not begun, or ends.
EXPECTED = (
    "no whole checkpoint is left",
    "there is no checkpoint yet to go back to",
    "is of an earlier phase",
    "is of another timeline",
    "cannot end at",
)


@pytest.fixture(scope="module", autouse=True)
def groups() -> Iterator[None]:
    with process_groups(1, 1, "a test"):
        yield


def is_of(sequence: int, order: list[int]) -> bool:
    """Say whether a sequence is of the shard that another one is of."""
    return sequence // IDS == order[0] // IDS


def check(life: Life, is_whole: bool) -> None:
    """Recount what every step was trained on, and compare all that says how much that was; is_whole: so is the log."""
    ledger = life.oracle.ledger
    assert ledger
    trained = 0
    for entry in ledger.entries:
        if entry.what != LEFT_OUT:
            assert len(entry.sequences) == batch_size(life.choices[entry.choice][0]["training"], trained)
            trained += len(entry.sequences)
    for name, order in life.order.items():
        drawn = [sequence for entry in ledger.entries for sequence in entry.sequences if is_of(sequence, order)]
        assert drawn == order[: len(drawn)], f"{name}: each once, in order, none missing"
    steps = [entry for entry in ledger.entries if entry.what != LEFT_OUT]
    log = read_log(life.output)
    assert [record["iteration"] for record in log] == list(range(1, len(steps) + 1)) or not is_whole
    for record in log:
        entry = steps[record["iteration"] - 1]
        assert record["batch_sequences"] == len(entry.sequences)
        assert record["loss"] == entry.loss or (math.isnan(record["loss"]) and math.isnan(entry.loss))
    if log:
        compare_figures(life)


def compare_figures(life: Life) -> None:
    """Compare the log, the consumption and the account of it with the ledger."""
    entries, log = life.oracle.ledger.entries, read_log(life.output)
    logged = [number for number, entry in enumerate(entries) if entry.what != LEFT_OUT][log[-1]["iteration"] - 1]
    entries = entries[: logged + 1]
    taken = [sequence for entry in entries if entry.what == STEP for sequence in entry.sequences]
    consumed = sum(len(entry.sequences) for entry in entries)
    assert (log[-1]["trained_tokens"], log[-1]["consumed_tokens"]) == (len(taken) * LENGTH, consumed * LENGTH)
    account = read_account(life.folder, life.run)
    assert (account.trained, account.consumed) == (log[-1]["trained_tokens"], log[-1]["consumed_tokens"])
    iteration, domains = read_domains(life.output)
    assert iteration == account.iteration == log[-1]["iteration"]
    assert sum(domain.consumed for domain in domains.values()) == account.consumed
    wanted, there = Counter(), Counter()
    for name, order in life.order.items():
        counted = parse_counted(name)
        domain = f"{counted.shard.language}_{counted.shard.domain}"
        wanted[domain] += LENGTH * sum(is_of(sequence, order) for sequence in taken)
        there[domain] += counted.tokens
    assert {name: domain.trained for name, domain in domains.items() if domain.trained} == +wanted


@pytest.mark.parametrize("seed", range(LIVES))
def test_each_sequence_is_trained_on_once(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    life, is_whole = Life(tmp_path, seed, monkeypatch), True
    for _ in range(EVENTS):
        try:
            life.train(kill_after=life.chance.choice([3, 6, 9, 14, 20, 30, math.inf]))
        except Killed:
            pass
        except PretrainError as error:
            assert any(expected in str(error) for expected in EXPECTED), error
        if life.oracle.ledger:
            check(life, is_whole)
        what = life.chance.choice([life.change, life.move_away, life.bring_back, life.damage, None, None])
        is_whole &= what != life.bring_back
        if what:
            what()
    mend(life)
    life.choose(max(run["training"]["iterations"] for run, _ in life.choices) + 3)
    finish(life, is_whole=False)


def has_whole_checkpoint(life: Life) -> bool:
    return any(damage(folder) is None for folder in torch_dist.numbered(life.checkpoints).values())


def mend(life: Life) -> None:
    """Where no whole checkpoint is left, do what the training says: bring one back, or move its output away."""
    if not has_whole_checkpoint(life):
        for folder in torch_dist.numbered(life.checkpoints).values():
            set_aside(folder)
        life.bring_back()
    if not has_whole_checkpoint(life) and life.output.exists():
        life.output.rename(life.folder / "given up")


def scripted(life: Life, *bad: int, killed_at: int = 0) -> None:
    """Let the losses of these iterations be no number, each once, and the training be killed at one."""
    left = list(bad)

    def loss(iteration: int) -> float:
        if left and left[0] == iteration:
            return math.nan * left.pop(0)
        if iteration == killed_at:
            raise Killed
        return 1.0 + life.chance.random()

    life.oracle.loss = loss


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """A life of 12 iterations, with a checkpoint every 3, which rewinds."""
    life = Life(tmp_path, 1, monkeypatch)
    life.run["training"] |= {"iterations": 12, "batch_size_rampup": None}
    life.run["operation"] |= {"checkpoint_every_iterations": 3, "keep_last_checkpoints": None}
    return life


def train_until_killed(life: Life, *bad: int, killed_at: int) -> None:
    scripted(life, *bad, killed_at=killed_at)
    with pytest.raises(Killed):
        life.train()


def finish(life: Life, is_whole: bool = True) -> None:
    """Train to the end, and recount."""
    scripted(life)
    foreseen = read_account(life.folder, life.run).trained_at_end
    life.train()
    assert life.oracle.ledger.iteration == life.run["training"]["iterations"]
    check(life, is_whole)
    account = read_account(life.folder, life.run)
    assert account.trained == account.trained_at_end == (foreseen if is_whole else account.trained)


@pytest.mark.parametrize("changes", [False, True], ids=["as it was", "in a new phase"])
def test_a_rewind_counts_for_the_checkpoint_that_it_went_back_to_alone(life: Life, changes: bool) -> None:
    """Two rewinds to iteration 6, whose checkpoint is then gone; another of the same iteration takes its place."""
    train_until_killed(life, 7, 7, killed_at=7)
    assert History(life.output).rewinds() == 2
    life.move_away()
    if changes:
        life.choose(iterations=14)
    train_until_killed(life, killed_at=7)
    check(life, True)
    finish(life)
    account = read_account(life.folder, life.run)
    assert account.trained == account.consumed == account.trained_at_end, "both rewinds went with their checkpoint"


def test_a_rewind_to_where_a_phase_began_keeps_nothing_of_what_it_leaves(life: Life) -> None:
    """The ledger's writer compares the losses that a spike is judged by."""
    finish(life)
    life.choose(iterations=18)
    scripted(life, 14)
    life.train()
    manifest = read_json(life.checkpoints / "iter_0000015" / "manifest.json")
    assert len(manifest["anomalies"]["losses"]) == 3, "of iterations 13 to 15, as they were in the end"
    check(life, True)


def test_a_phase_of_which_nothing_is_left_is_forgotten(life: Life) -> None:
    train_until_killed(life, killed_at=7)
    life.choose(iterations=14)
    train_until_killed(life, 8, killed_at=8)
    assert len(History(life.output).phases()) == 2
    life.move_away()
    life.oracle.choice = 0
    finish(life)
    (phase,) = History(life.output).phases()
    assert phase.identity["training"]["iterations"] == 12 and len(History(life.output).begun_phases()) == 2


def test_a_checkpoint_of_another_timeline_brings_its_past_along(life: Life) -> None:
    """What another timeline logged of the same iterations goes; of its own, that was dropped, nothing is made up."""
    train_until_killed(life, 5, killed_at=8)
    life.move_away()
    life.choose(iterations=14)
    train_until_killed(life, killed_at=8)
    life.move_away()
    (life.stash / "iter_0000006.2").rename(life.checkpoints / "iter_0000006")
    finish(life, is_whole=False)
    assert [record["iteration"] for record in read_log(life.output)] == [1, 2, 3, *range(7, 15)]
    assert [phase.iteration for phase in History(life.output).phases()] == [0, 6]


def test_a_rewind_goes_back_within_its_own_past(life: Life) -> None:
    """While it trains on from iteration 3, a checkpoint of iteration 6 is brought back, which it does not come from."""
    train_until_killed(life, killed_at=7)
    life.move_away()
    scripted(life)
    no_number = life.oracle.loss

    def bring_back_and_fail(iteration: int) -> float:
        if iteration == 5:
            life.bring_back()
            return math.nan
        return no_number(iteration)

    life.oracle.loss = bring_back_and_fail
    with pytest.raises(PretrainError, match="iter_0000006, is of another timeline than this training's"):
        life.train()
    finish(life, is_whole=False)


def test_files_that_do_not_belong_together_are_refused(life: Life) -> None:
    train_until_killed(life, killed_at=4)
    manifest, timelines = life.checkpoints / "iter_0000003" / "manifest.json", life.output / "timelines.json"
    recorded = read_json(manifest)
    write_json(manifest, recorded | {"timeline": 1})
    with pytest.raises(PretrainError, match=r"the checkpoint is of timeline 1, and timelines.json has 1"):
        life.train()
    write_json(manifest, recorded)
    write_json(timelines, [read_json(timelines)[0] | {"phases": [1]}])
    with pytest.raises(PretrainError, match=r"phases.json lacks phases that timelines.json names"):
        life.train()


def test_a_checkpoint_of_another_training_is_refused(life: Life, tmp_path: Path) -> None:
    """Of a training of the same run, on its first timeline, too: all numbers fit."""
    train_until_killed(life, killed_at=8)
    life.output.rename(tmp_path / "another")
    life.oracle.ledger = None
    train_until_killed(life, killed_at=5)
    foreign = life.checkpoints / "iter_0000006"
    shutil.copytree(tmp_path / "another" / "checkpoints" / foreign.name, foreign)
    with pytest.raises(PretrainError, match=r"another training wrote the checkpoint: its timeline 0 is not that"):
        life.train()
    shutil.rmtree(foreign)
    finish(life)


def forget_timelines(output: Path) -> None:
    """Make of an output what an earlier version would have written of the same training."""
    remembered = History(output)
    rewinds = [t for t in remembered.timelines() if t.position]
    recorded = [{"iteration": t.iteration, "consumed": t.position.consumed, "drawn": t.position.drawn} for t in rewinds]
    write_json(output / "phases.json", [asdict(phase) for phase in remembered.phases()])
    write_json(output / "rewinds.json", recorded)
    (output / "timelines.json").unlink()
    later = {"timeline", "timeline_id", "left_out", "trained", "trained_tokens"}
    for path in output.glob("checkpoints/iter_*/manifest.json"):
        write_json(path, {key: value for key, value in read_json(path).items() if key not in later})
    for name in (NAME, CONSUMPTION):
        lines = [{key: value for key, value in line.items() if key not in later} for line in read_log(output, name)]
        (output / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_an_earlier_version_began_goes_on(life: Life) -> None:
    """A skipped step; a phase with a rewind to where it began, one to a checkpoint of its own, and that once more."""
    life.run["operation"]["on_not_finite"] = "skip"
    train_until_killed(life, 2, killed_at=7)
    life.choose(iterations=14)
    train_until_killed(life, 8, 11, killed_at=11)
    known = read_account(life.folder, life.run)
    forget_timelines(life.output)
    assert read_account(life.folder, life.run) == replace(known, steps=read_log(life.output))
    assert {domain.trained for domain in read_domains(life.output)[1].values()} == {None}, "not recorded"
    train_until_killed(life, 13, killed_at=13)
    check(life, True)
    life.move_away()
    finish(life)
    assert History(life.output).rewinds() == 3


def test_a_rewind_of_an_earlier_version_counts_for_its_own_checkpoint_alone(life: Life) -> None:
    train_until_killed(life, 7, 7, killed_at=7)
    life.move_away()
    life.choose(iterations=14)
    train_until_killed(life, killed_at=7)
    forget_timelines(life.output)
    finish(life)
    account = read_account(life.folder, life.run)
    assert account.trained == account.consumed


def test_what_an_earlier_version_left_out_is_counted_as_trained_where_nothing_tells(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    train_until_killed(life, 7, killed_at=8)
    forget_timelines(life.output)
    lines = (life.output / NAME).read_text().splitlines(keepends=True)
    (life.output / NAME).write_text("".join(lines[1:]))
    scripted(life)
    life.train()
    told = "WARNING: what earlier rewinds and skips left out is not known, and counts as trained on"
    assert told in capsys.readouterr().out
    account = read_account(life.folder, life.run)
    assert account.trained == account.consumed


def test_a_history_that_lost_its_timelines_is_refused(life: Life) -> None:
    """Taken for an earlier version's, it would draw again what a rewind left out."""
    train_until_killed(life, 5, killed_at=5)
    (life.output / "timelines.json").unlink()
    with pytest.raises(PretrainError, match=r"(?s)timelines\.json is missing.*bring"):
        life.train()


def test_a_checkpoint_under_the_name_of_another_iteration_is_set_aside(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named by a larger number, it would stay the newest, and each restart begin at it."""
    train_until_killed(life, killed_at=8)
    there = sorted(life.checkpoints.glob("iter_*"))
    there[0].rename(life.checkpoints / "iter_0000009")
    scripted(life)
    train_until_killed(life, killed_at=8)
    told = "iter_0000009 is damaged and not used: it is of iteration 3, by its manifest.json"
    assert told in capsys.readouterr().out
    assert (life.checkpoints / "iter_0000009_damaged_1").exists()
    finish(life)
