"""A run that changed since its training began: refused with its differences, begun again, or a new phase."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from pairs import write_pair
from pretrain_llama.configuration import load_run
from pretrain_llama.files import read_json, write_json
from pretrain_llama.mixture.mixture import Mixture, SampledShard, TrainingLength
from pretrain_llama.names import parse_counted
from pretrain_llama.run import submissions
from pretrain_llama.run.history import History
from pretrain_llama.run.identity import identity
from pretrain_llama.run.log_file import CONSUMPTION, read_log
from pretrain_llama.run.submissions import Submission
from project import run_script
from trainings import Training, copied_with_output, write_shard


def shifted(training: Training) -> dict[str, float]:
    """Return another mixture of the same shards."""
    names = list(read_json(training.folder / "mixture" / "probabilities.json")["probabilities"])
    return dict(zip(names, [0.7, 0.2, 0.1], strict=True))


def test_a_change_is_refused_with_its_differences(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run", training={"iterations": 9, "micro_batch_size_sequences": 4})
    printed = copy.refused()
    assert "the run changed since its training began" in printed
    assert "training: iterations: 8 -> 9\n" in printed, "how the work is cut is no change"
    copy.change(training={"iterations": 8})
    copy.mix(shifted(training))
    printed = copy.refused()
    assert printed.count("0.3333333333333333 ->") == 3 and "new_phase goes on with the change" in printed
    assert len(list((copy.output / "checkpoints").glob("iter_*"))) == 3


def test_a_training_begun_before_there_was_a_mask_goes_on_without_one(training: Training, tmp_path: Path) -> None:
    now = identity(training.folder, load_run(training.folder), "toy", {})["training"]
    assert "seed" in now and "reset_attention_mask" not in now, "earlier versions have not named it"
    copy = copied_with_output(training, tmp_path / "run", training={"reset_attention_mask": True})
    assert "training: reset_attention_mask: new, True\n" in copy.refused()


def test_an_edited_file_is_a_change_whatever_the_manifest_says(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run")
    name = next(iter(shifted(training)))
    idx = copy.folder / "data" / f"{name}.idx"
    content = bytearray(idx.read_bytes())
    content[-1] ^= 1
    idx.write_bytes(content)
    assert f"data: {name}: other bytes" in copy.refused()
    content[-1] ^= 1
    idx.write_bytes(content)
    manifest = copy.folder / "manifest.json"
    write_json(manifest, read_json(manifest) | {"blake3": {f"data/{name}.bin": "as the receipt says"}})
    assert f"data: {name}: other bytes" in copy.refused()


def test_a_changed_run_can_begin_again(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run", training={"iterations": 2}, on_change="restart")
    submissions.record(copy.output, Submission("slurm", "4711", "slurm-4711.log"))
    assert "the earlier output is kept as" in copy.train()
    assert submissions.newest(copy.output, "slurm"), "this training may be that job"
    assert len(copy.losses()) == 2
    kept = copy.folder / "output_before_change_1"
    assert (kept / "checkpoints" / "iter_0000008").exists() and len(read_log(kept)) == 8


def test_a_new_phase_goes_on_where_every_shard_stood(training: Training, tmp_path: Path) -> None:
    longer = {"iterations": 14, "learning_rate": 1.0e-3}
    copy = copied_with_output(training, tmp_path / "run", training=longer, on_change="new_phase")
    copy.mix(shifted(training))
    assert "resumed at iteration 8" in copy.train()
    assert copy.losses()[:8] == training.losses()
    first, second = read_json(copy.output / "phases.json")
    assert (first["iteration"], first["drawn"], second["iteration"], second["consumed"]) == (0, {}, 8, 64)
    assert sum(second["drawn"].values()) == 64 and max(second["drawn"].values()) <= 22
    manifest = read_json(copy.output / "checkpoints" / "iter_0000014" / "manifest.json")
    further = [manifest["drawn"][name] - second["drawn"][name] for name in shifted(training)]
    assert further == pytest.approx([0.7 * 48, 0.2 * 48, 0.1 * 48], abs=1)
    assert read_log(copy.output)[8]["learning_rate"] <= 1.0e-3, "the new phase's rate"
    consumed = read_log(copy.output, CONSUMPTION)[-1]
    assert sum(consumed["tokens"].values()) == (64 + 48) * 32

    copy.change(training={"iterations": 16}, on_change="refuse")
    assert "iterations: 14 -> 16" in copy.refused(), "the phase is what the run is now"


@pytest.mark.parametrize("distributed", [False, True])
def test_a_new_phase_may_change_all_of_the_optimizer(training: Training, tmp_path: Path, distributed: bool) -> None:
    """And goes on with its state: from an empty one, the first step would go its own way."""
    parallel = {"data": 2, "distributed_optimizer": True} if distributed else {}
    began = training.copied(tmp_path / "run", parallel=parallel)
    began.train()
    rates = {"learning_rate": 1.0e-3, "min_learning_rate": 1.0e-4, "weight_decay": 0.3}
    adam = {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1.0e-6}
    nearly = {"learning_rate": 3.0e-3 + 1e-9, "weight_decay": 0.1 + 1e-9}
    longer = copied_with_output(began, tmp_path / "same", training={"iterations": 14}, on_change="new_phase")
    almost = copied_with_output(began, tmp_path / "near", training={"iterations": 14} | nearly, on_change="new_phase")
    other = copied_with_output(began, tmp_path / "other", training={"iterations": 14} | rates | adam)
    other.change(on_change="new_phase")
    for copy in (longer, almost, other):
        assert "resumed at iteration 8" in copy.train()
    assert almost.losses() == pytest.approx(longer.losses(), abs=1e-4)
    assert other.losses()[:9] == pytest.approx(longer.losses()[:9], abs=1e-4), "of weights before its first step"
    assert abs(other.losses()[-1] - longer.losses()[-1]) > 1e-3, "and it does otherwise"
    assert all(record["learning_rate"] <= 1.0e-3 for record in read_log(other.output)[8:])


def test_a_new_phase_is_as_good_as_uninterrupted(training: Training, tmp_path: Path) -> None:
    """With the mixture as it was, a phase that only adds iterations draws what the longer run would have drawn."""
    schedule = {"schedule": "constant"}
    short, long = (
        training.copied(tmp_path / f"{iterations}", training=schedule | {"iterations": iterations})
        for iterations in (6, 12)
    )
    short.train()
    long.train()
    short.change(training={"iterations": 12}, on_change="new_phase")
    short.train()
    assert len(read_json(short.output / "phases.json")) == 2
    assert short.losses() == long.losses(), "bit for bit"


@pytest.mark.parametrize("size", [4, 16])
def test_a_new_phase_may_have_another_batch_size(training: Training, tmp_path: Path, size: int) -> None:
    changed = {"global_batch_size_sequences": size, "iterations": 14}
    copy = copied_with_output(training, tmp_path / "run", training=changed, on_change="new_phase")
    copy.train()
    log, whole = read_log(copy.output), 8 * 8 + 6 * size
    assert [record["batch_sequences"] for record in log] == [8] * 8 + [size] * 6
    assert log[-1]["consumed_tokens"] == whole * 32
    steps = [64 + done * size for done in range(6)]
    rates = [3e-4 + 2.7e-3 * (1 + math.cos(math.pi * (step - 8) / (whole - 8))) / 2 for step in steps]
    assert [record["learning_rate"] for record in log[8:]] == pytest.approx(rates), (
        "warm-up is over, the end is the end"
    )


@pytest.mark.parametrize(
    ("changed", "jumps"),
    [
        ({"iterations": 20}, True),
        ({"iterations": 10, "learning_rate": 2.0e-4, "min_learning_rate": 2.0e-5}, True),
        ({"iterations": 14, "learning_rate": 1.0e-3}, False),
    ],
)
def test_a_jump_of_the_learning_rate_is_told_as_a_phase_begins(
    training: Training, tmp_path: Path, changed: dict, jumps: bool
) -> None:
    copy = copied_with_output(training, tmp_path / "run", training=changed, on_change="new_phase")
    printed = copy.train()
    before, now = (record["learning_rate"] for record in read_log(copy.output)[7:9])
    assert jumps == (not 0.5 <= now / before <= 2)
    told = f"learning_rate_jump: this phase begins with {now:.3g}, the step before it had {before:.3g}\n"
    assert printed.count(told) == jumps
    events = History(copy.output).events("learning_rate_jump")
    assert [(event["iteration"], event["before"], event["now"]) for event in events] == [(8, before, now)] * jumps


def test_a_new_phase_has_something_to_train(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run", training={"learning_rate": 1.0e-3}, on_change="new_phase")
    printed = copy.refused()
    assert "a new phase of a training that has done 8 iterations cannot end at 8" in printed
    assert len(read_json(copy.output / "phases.json")) == 1


def another_pair(copy: Training, shard: str) -> str:
    """Write a shard to data/; return its counted name."""
    return write_shard(copy.folder / "data", shard, [[1, *range(10, 200), 2]] * 8)


def test_a_shard_can_be_dropped_and_another_added(training: Training, tmp_path: Path) -> None:
    longer = {"iterations": 14}
    copy = copied_with_output(training, tmp_path / "run", training=longer, on_change="new_phase")
    first, dropped, third = shifted(training)
    added = another_pair(copy, "fr_law_acts_split_0000")
    copy.mix({first: 0.5, third: 0.25, added: 0.25})
    for suffix in (".bin", ".idx"):
        (copy.folder / "data" / f"{dropped}{suffix}").unlink()
    printed = copy.train()
    assert re.search(rf"phase 2, iterations 8 to 14: epochs of the shards at its end: 0\.\d+ of {added}", printed)
    before = read_json(copy.output / "checkpoints" / "iter_0000008" / "manifest.json")["drawn"]
    after = read_json(copy.output / "checkpoints" / "iter_0000014" / "manifest.json")["drawn"]
    assert after[dropped] == before[dropped] > 0, "none of it any more"
    assert (after[first] - before[first], after[third] - before[third], after[added]) == (24, 12, 12)
    consumed = read_log(copy.output, CONSUMPTION)
    assert consumed[-1]["tokens"].keys() == {"en_books", "ar_news", "fr_law"}
    for earlier, later in pairwise(consumed):
        assert all(later["tokens"][name] >= tokens for name, tokens in earlier["tokens"].items()), (
            "nothing is forgotten"
        )


def test_a_summary_tells_what_a_dropped_domain_gave(training: Training, tmp_path: Path) -> None:
    longer = {"iterations": 13}
    copy = copied_with_output(training, tmp_path / "run", training=longer, on_change="new_phase")
    *books, news = shifted(training)
    sampled = [SampledShard(parse_counted(name), 1.0, math.inf, 0.5, 20) for name in books]
    copy.mix(**Mixture(None, TrainingLength(40, 32), sampled, [], []).to_json())
    copy.train()
    sums = {"lines": 46, "blank": 0, "rejected": {}, "held_out_documents": 0, "documents": 46, "shards": 3, "tokens": 1}
    conserved = {"total": sums, "corpora": {"en_books_tales": sums, "ar_news_daily": sums}}
    write_json(tmp_path / "conservation.json", conserved)
    arguments = ["--conservation", tmp_path / "conservation.json", "--run-folder", copy.folder]
    result = run_script("summarize_run.py", *arguments)
    assert result.returncode == 0, result.stderr
    rows = {row["domain"]: row for row in read_json(copy.folder / "summary.json")["corpora"]}
    drawn = read_json(copy.output / "checkpoints" / "iter_0000013" / "manifest.json")["drawn"]
    assert rows["news"]["trained_tokens"] == drawn[news] * 32 > 0 == rows["news"]["probability"]
    assert rows["news"]["epochs"] == drawn[news] * 32 / parse_counted(news).tokens
    assert rows["books"]["trained_tokens"] == sum(drawn[name] for name in books) * 32
    assert "epochs: drawn up to iteration 13, all phases together" in (copy.folder / "summary.txt").read_text()
    (copy.output / CONSUMPTION).unlink()
    assert "nothing was trained yet" in run_script("summarize_run.py", *arguments).stderr


def test_the_same_shard_under_other_counts_is_no_new_one(training: Training, tmp_path: Path) -> None:
    longer = {"iterations": 14}
    copy = copied_with_output(training, tmp_path / "run", training=longer, on_change="new_phase")
    first, second, third = shifted(training)
    copy.mix({first: 0.5, second: 0.25, another_pair(copy, "ar_news_daily_split_0000"): 0.25})
    printed = copy.refused()
    assert f"no new phase can begin where the counts of {third} changed" in printed and "new shards" in printed


def test_a_new_phase_repeats_no_shard_more_than_the_mixture_allows(training: Training, tmp_path: Path) -> None:
    longer = {"iterations": 14}
    copy = copied_with_output(training, tmp_path / "run", training=longer, on_change="new_phase")
    first, *_, last = mixture = shifted(training)
    copy.mix(mixture, max_epochs={last: 0.03, first: 3})
    printed = copy.refused()
    assert "1 shards would be drawn more often than max_epochs" in printed and f"{last}: 0.0" in printed
    assert len(read_json(copy.output / "phases.json")) == 1


@pytest.mark.parametrize("key", ["sequence_length_tokens", "seed"])
def test_what_a_new_phase_cannot_change_is_refused(training: Training, tmp_path: Path, key: str) -> None:
    copy = copied_with_output(training, tmp_path / "run", training={key: 16}, on_change="new_phase")
    printed = copy.refused()
    assert f"no new phase can begin where {key} changed" in printed and "exported checkpoint" in printed


@pytest.mark.parametrize("part", ["tokenizer", "checkpoint", "data"])
def test_another_model_tokenizer_or_content_is_no_phase(training: Training, tmp_path: Path, part: str) -> None:
    copy = copied_with_output(training, tmp_path / "run", on_change="new_phase")
    phases = json.loads((copy.output / "phases.json").read_text())
    identity = phases[0]["identity"]
    changed = next(iter(identity["data"]))
    identity[part] = identity["data"] | {changed: "another"} if part == "data" else "another"
    write_json(copy.output / "phases.json", phases)
    printed = copy.refused()
    assert f"no new phase can begin where {'the content of ' + changed if part == 'data' else part} changed" in printed


def test_a_phase_before_its_first_checkpoint_is_forgotten(training: Training, tmp_path: Path) -> None:
    """Its checkpoint damaged, a training falls back into the earlier phase; the present one then begins there."""
    copy = copied_with_output(training, tmp_path / "run", training={"iterations": 10}, on_change="new_phase")
    copy.train()
    for iteration in (10, 9, 8):
        (copy.output / "checkpoints" / f"iter_{iteration:07d}" / "manifest.json").unlink()
    copy.train()
    assert [phase.iteration for phase in History(copy.output).phases()] == [0, 6]
    assert len(History(copy.output).events("damaged")) == 3
    assert len(copy.losses()) == 10 and copy.losses()[:6] == training.losses()[:6]


def test_another_padding_of_the_vocabulary_is_no_change(training: Training, tmp_path: Path) -> None:
    """It follows from the tensor parallel size, which may change."""
    copy = training.copied(tmp_path / "run")
    arguments = copy.folder, load_run(copy.folder), "toy.01234567", {}
    before = identity(*arguments)
    conversion = copy.folder / "checkpoint" / "conversion.json"
    content = read_json(conversion)
    conversion.unlink()
    padding = {"multiple": 128, "tensor_parallel": 8, "padded_vocab_size": 1024, "rows": "mean"}
    assert content["padding"].keys() == padding.keys()
    write_json(conversion, content | {"padding": padding, "files": {}})
    assert identity(*arguments) == before
    write_json(conversion, content | {"source": {}})
    assert identity(*arguments)["checkpoint"] != before["checkpoint"]


def test_changed_validation_sets_are_noted_and_no_change_of_the_run(training: Training, tmp_path: Path) -> None:
    copy = copied_with_output(training, tmp_path / "run")
    (noted,) = History(copy.output).events("validation")
    assert sorted(noted["sets"]) == ["ar_news", "en_books"] and noted["changed"] == []
    assert "validation sets changed" not in copy.train()
    (copy.folder / "validation" / "en_books.idx").unlink()
    write_pair(copy.folder / "validation" / "en_books", [[1, *range(10, 60), 2]])
    write_pair(copy.folder / "validation" / "fr_law", [[1, *range(10, 60), 2]])
    assert "WARNING: validation sets changed, and with them their losses: en_books, fr_law" in copy.train()
    assert History(copy.output).events("validation")[-1]["changed"] == ["en_books", "fr_law"]
    assert "validation sets changed" not in copy.train(), "they are those that were noted"
