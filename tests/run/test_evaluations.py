"""Evaluations: how many, of how many sequences, in the estimate and while they go on."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pairs import write_pair
from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.configuration import validate
from pretrain_llama.estimate.run import estimate
from pretrain_llama.files import write_json
from pretrain_llama.run.account import Account
from pretrain_llama.run.evaluations import MARKER, evaluated_sequences, evaluations, most_sequences
from pretrain_llama.run.state import told
from pretrain_llama.settings import RunSettings
from pretrain_llama.training.evaluating import Evaluator

SMALL = Architecture(2, 64, 128, 4, 4, 16, 512, 512, norm_epsilon=1e-5, rope_base=1e4, rope_scaling=None, tied=False)


def run_of(iterations: int, every: int, sequences: int | None = None) -> RunSettings:
    training = {"iterations": iterations, "sequence_length_tokens": 8, "learning_rate": 1e-3, "precision": "fp32"}
    training |= {"micro_batch_size_sequences": 2, "global_batch_size_sequences": 16}
    operation = {"evaluate_every_iterations": every, "evaluation_sequences": sequences}
    return validate(
        {"tokenizer": "t", "checkpoint": "c", "training": training, "operation": operation}, "run", "a test"
    )


@pytest.mark.parametrize(
    ("iterations", "every", "sequences", "sets", "times", "most"),
    [
        (100, 50, None, 2, 3, 26),  # a tenth of 1,600 sequences, for 3 evaluations of 2 sets
        (100, 1000, None, 0, 2, 80),
        (99, 50, None, 1, 3, 52),
        (10, 1, None, 5, 11, 8),  # few are too noisy to be worth anything
        (10**6, 1000, None, 2, 1001, 256),
        (10, 1, 700, 5, 11, 700),
    ],
)
def test_all_evaluations_read_at_most_a_tenth(
    iterations: int, every: int, sequences: int | None, sets: int, times: int, most: int
) -> None:
    run = run_of(iterations, every, sequences)
    assert evaluations(run) == times
    assert most_sequences(run, sets) == most


def test_the_estimate_counts_them(tmp_path: Path) -> None:
    for name, documents in {"en_a": [[1] * 30], "en_b": [[1] * 4000], "en_one": [[1]]}.items():
        write_pair(tmp_path / "validation" / name, documents)
    run = run_of(100, 50)
    assert evaluated_sequences(tmp_path / "validation", run) == {"en_a": 4, "en_b": 26}
    device = ("NVIDIA A100", 0.4)
    counted, unknown = estimate(run, SMALL, *device, tmp_path), estimate(run, SMALL, *device)
    assert counted["evaluations"] == 3 and counted["evaluation_tokens"] == 3 * 30 * 8
    assert unknown["evaluation_tokens"] is None and unknown["evaluation_flops"] == 0
    more = 3 * 30 * 8 / 3 / counted["tokens"]
    assert counted["days"] == pytest.approx(unknown["days"] * (1 + more))
    assert counted["tokens_per_second"] == unknown["tokens_per_second"]


def test_an_evaluation_is_announced_and_told_while_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SimpleNamespace(
        manifest={},
        output=tmp_path / "output",
        training={"sequence_length_tokens": 8},
        run={"sample": {"prompts": ["A"]}},
    )
    account = Account([], 0, 10, 0, 0, 80)
    during = []

    def evaluate(_: object) -> float:
        during.append(told(str(tmp_path), account))
        stepped = Account([{"loss": 7.0}], 3, 10, 24, 24, 80)
        during.append(told(str(tmp_path), stepped))
        return 7.5

    log = SimpleNamespace(validation=lambda *found: during.append(found))
    evaluator = Evaluator(folder, SimpleNamespace(evaluate=evaluate), {"en_a": SimpleNamespace(sequences=1200)})
    evaluator.run(0, 0, log)
    what = "evaluating 1 validation sets, 1,200 sequences, 9,600 tokens"
    assert during[0].startswith(f"{what}, since 20") and during[0].endswith(", before the first step")
    assert during[1].startswith(f"iteration 3 of 10, loss 7.000; {what}")
    assert during[2] == (0, 0, {"en_a": 7.5})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"iteration 0 | {what}" and printed[1].startswith("evaluated in ")
    assert told(str(tmp_path), account) == "ready to train" and not (tmp_path / "output" / MARKER).exists()


def test_of_a_killed_training_a_marker_is_no_end(tmp_path: Path) -> None:
    write_json(tmp_path / "output" / MARKER, {"iteration": 0, "what": "2 sets", "since": "2026"})
    write_json(tmp_path / "output/finished.json", {})
    assert told(str(tmp_path), Account([], 0, 10, 0, 0, 80)).startswith("finished")
