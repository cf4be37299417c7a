"""megatron_lm_arguments.sh, as bash reads it; and as Megatron-LM's own parser does, where MEGATRON_LM is a checkout.

The wheel of megatron-core 0.19.2, unpacked, will do: it has megatron/training.
"""

import json
import os
import re
import subprocess
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pretrain_llama.checkpoints.architecture import Architecture, RopeScaling, read_architecture
from pretrain_llama.configuration import load_run
from pretrain_llama.launch.megatron_lm import arguments_script
from pretrain_llama.launch.megatron_lm_check import parse, words
from pretrain_llama.training.sizes import process_count, sequences_after
from project import Project

HAS_PARSER = bool(os.environ.get("MEGATRON_LM"))


@pytest.fixture(scope="module")
def folder(built: Project) -> Path:
    return built.folder / "results" / "runs" / "tiny"


def values(arguments: list[str], option: str) -> list[str]:
    """What follows an option, up to the next."""
    start = arguments.index(option) + 1
    end = next((at for at in range(start, len(arguments)) if re.match(r"--[a-z]", arguments[at])), len(arguments))
    return arguments[start:end]


def test_the_arguments_are_those_of_the_run(folder: Path) -> None:
    run, arguments = load_run(folder), words(folder / "megatron_lm_arguments.sh")
    assert values(arguments, "--lr") == [str(run["training"]["learning_rate"])]
    assert values(arguments, "--train-iters") == ["6"]
    probabilities = json.loads((folder / "mixture" / "probabilities.json").read_text())["probabilities"]
    data = values(arguments, "--data-path")
    assert dict(zip(data[1::2], map(float, data[::2]), strict=True)) == {
        f"data/{name}": probability for name, probability in probabilities.items()
    }
    assert all((folder / f"{prefix}.bin").exists() for prefix in data[1::2])


def test_it_warns_where_documents_are_masked(folder: Path, tmp_path: Path) -> None:
    run, script = load_run(folder), tmp_path / "arguments.sh"
    for masked in (False, True):
        run["training"]["reset_attention_mask"] = masked
        script.write_text(arguments_script(run, read_architecture(folder / "checkpoint"), {"a_b_c=1": 1.0}))
        sourced = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
        assert ("warning: reset_attention_mask: true is left out" in sourced.stderr) is masked


def test_it_begins_with_the_checkpoint_and_goes_on_with_its_own(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_bytes((folder / "megatron_lm_arguments.sh").read_bytes())
    assert values(words(script), "--load") == ["checkpoint"] and "--finetune" in words(script)
    assert (folder / "checkpoint" / "latest_checkpointed_iteration.txt").read_text().strip() == "release"
    own = tmp_path / "output_megatron_lm" / "checkpoints"
    own.mkdir(parents=True)
    (own / "latest_checkpointed_iteration.txt").write_text("2")
    assert values(words(script), "--load") == ["output_megatron_lm/checkpoints"]
    assert not {"--finetune", "--no-load-optim"} & set(words(script))


def test_a_ramp_up_is_told_in_samples(folder: Path, tmp_path: Path) -> None:
    """Many versions refuse it in iterations: "expected no batch-size rampup for iteration-based training"."""
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_text(arguments_script(*larger(folder), {"a_b_c=1": 1.0}))
    arguments = words(script)
    trained = sequences_after(larger(folder)[0]["training"], 1000)
    assert values(arguments, "--train-samples") == values(arguments, "--lr-decay-samples") == [str(trained)]
    assert values(arguments, "--lr-wsd-decay-samples") == ["6400"]
    assert not [word for word in arguments if word.endswith("-iters") and word != "--eval-iters"]


def larger(folder: Path) -> tuple[dict[str, Any], Architecture]:
    """A run with all that may be chosen: another schedule, ramp-up, recomputation, Llama 3's rotary scaling."""
    run = deepcopy(load_run(folder))
    run["parallel"] |= {"tensor": 2, "pipeline": 2, "data": 4}
    run["parallel"] |= {"sequence": True, "distributed_optimizer": True, "recompute": "selective"}
    run["training"] |= {"schedule": "wsd", "iterations": 1000, "decay_iterations": 100, "precision": "bf16"}
    run["training"] |= {"global_batch_size_sequences": 64}
    run["training"] |= {
        "batch_size_rampup": {"start_sequences": 16, "increment_sequences": 16, "length_sequences": 960}
    }
    scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
    return run, replace(read_architecture(folder / "checkpoint"), rope_scaling=scaling, rope_base=5e5, vocab_size=401)


@pytest.mark.skipif(not HAS_PARSER, reason="MEGATRON_LM names no checkout of Megatron-LM")
@pytest.mark.parametrize("kind", ["tiny", "larger"])
def test_megatron_lms_own_parser_takes_them(folder: Path, tmp_path: Path, kind: str) -> None:
    run, a = larger(folder) if kind == "larger" else (load_run(folder), read_architecture(folder / "checkpoint"))
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_text(arguments_script(run, a, {"a_b_c=1": 0.75, "d_e_f=1": 0.25}))
    parsed = parse(script, Path(os.environ["MEGATRON_LM"]), process_count(run))
    training = run["training"]
    wanted = {
        "num_layers": a.layers,
        "kv_channels": a.head_size,
        "num_query_groups": a.key_value_heads,
        "rotary_base": a.rope_base,
        "use_rope_scaling": kind == "larger",
        "swiglu": True,
        "add_bias_linear": False,
        "hidden_dropout": 0,
        "attention_dropout": 0,
        "untie_embeddings_and_output_weights": True,
        "tensor_model_parallel_size": run["parallel"]["tensor"],
        "sequence_parallel": kind == "larger",
        "use_distributed_optimizer": kind == "larger",
        "bf16": kind == "larger",
        "global_batch_size": training["global_batch_size_sequences"],
        "lr_decay_style": "WSD" if kind == "larger" else "cosine",
        "adam_beta2": training["adam_beta2"],
        "data_path": ["0.75", "data/a_b_c=1", "0.25", "data/d_e_f=1"],
    }
    assert {key: parsed.get(key) for key in wanted} == wanted
    multiple = parsed["make_vocab_size_divisible_by"] * parsed["tensor_model_parallel_size"]
    assert multiple == a.padded_vocab_size(run["parallel"]["tensor"])
    if kind == "larger":
        rampup = training["batch_size_rampup"]
        assert [int(word) for word in parsed["rampup_batch_size"]] == list(rampup.values())
        assert (parsed["lr_wsd_decay_style"], parsed["lr_wsd_decay_samples"]) == ("minus_sqrt", 100 * 64)
        assert parsed["train_samples"] == parsed["lr_decay_samples"] == sequences_after(training, 1000)
        assert parsed["lr_warmup_samples"] == 16, "of the ramp-up's first batch"
        assert parsed.get("train_iters") is None
        assert (parsed["recompute_granularity"], parsed["recompute_modules"]) == ("selective", ["mlp"])
