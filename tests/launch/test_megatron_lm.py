"""megatron_lm_arguments.sh, as bash reads it, and as Megatron-LM's own parser does.

megatron-core's wheel brings the parser; MEGATRON_LM may name a checkout of another version.
"""

import json
import os
import re
import shutil
import subprocess
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from megatron.core.num_microbatches_calculator import StepBatchsizeNumMicroBatchesCalculator

from pretrain_llama.checklist import Failed
from pretrain_llama.checkpoints.architecture import Architecture, RopeScaling, read_architecture
from pretrain_llama.configuration import load_run
from pretrain_llama.launch.megatron_lm import arguments_script
from pretrain_llama.launch.megatron_lm_check import parse, words
from pretrain_llama.launch.start_files import write_launch_files
from pretrain_llama.provenance.integrity import check_megatron_lm
from pretrain_llama.run.sizes import batch_size, process_count, sequences_after
from project import ROOT, Project

CHECKOUT = Path(os.environ.get("MEGATRON_LM") or distribution("megatron-core").locate_file(""))


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
    """Megatron-LM counts the iterations of a batch that grows from them alone."""
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_text(arguments_script(*larger(folder), {"a_b_c=1": 1.0}))
    arguments = words(script)
    trained = sequences_after(larger(folder)[0]["training"], 1000)
    assert values(arguments, "--train-samples") == values(arguments, "--lr-decay-samples") == [str(trained)]
    assert values(arguments, "--lr-wsd-decay-samples") == ["6400"]
    assert not [word for word in arguments if word.endswith("-iters") and word != "--eval-iters"]
    assert not {"--global-batch-size", "--rampup-batch-size"} & set(arguments), "the second is ignored from 0.17 on"


def test_it_starts_without_apex_and_without_evaluations(folder: Path) -> None:
    """Both were seen to end pretrain_gpt.py of core_v0.16.1 and of main at once: docs/decisions/launch.md."""
    arguments = words(folder / "megatron_lm_arguments.sh")
    assert "--no-persist-layer-norm" in arguments
    assert values(arguments, "--eval-iters") == ["0"] and values(arguments, "--eval-interval") == ["6"]


def test_a_model_that_megatron_lm_computes_otherwise_has_no_arguments_for_it(folder: Path, tmp_path: Path) -> None:
    """Llama 3.2 has a factor of 32, of which its GPT program makes 8."""
    run, plain = load_run(folder), read_architecture(folder / "checkpoint")
    written, readme = tmp_path / "megatron_lm_arguments.sh", tmp_path / "README.md"
    for factor, numbers in [(8.0, (1.0, 4.0, 8192)), (32.0, (1.0, 4.0, 8192)), (8.0, (2.0, 4.0, 8192))]:
        model = replace(plain, rope_scaling=RopeScaling(factor, *numbers))
        shutil.rmtree(tmp_path / "environment", ignore_errors=True)
        write_launch_files(tmp_path, ROOT, run, model, {"a_b_c=1": 1.0})
        is_theirs = (factor, numbers[0]) == (8.0, 1.0)
        assert written.exists() is is_theirs
        assert ("`megatron_lm_arguments.sh` says how" in readme.read_text()) is is_theirs
    assert "With Megatron-LM: not at all, for it would rotate otherwise (rope_scaling_low_freq_factor: 2.0" in (
        readme.read_text()
    )
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("output", "data", "export"))
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 32.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    (tmp_path / "run" / "checkpoint" / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    with pytest.raises(Failed, match=r"it would rotate otherwise \(rope_scaling_factor: 32.0 -> 8.0\)"):
        check_megatron_lm(tmp_path / "run", tmp_path)


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


def check_batch_sizes(parsed: dict[str, Any], training: dict[str, Any]) -> None:
    """Check that megatron-core, told as Megatron-LM's global_vars.py tells it, takes the batches that are wanted."""
    schedule, length = parsed["step_batch_size_schedule"], parsed["seq_length"]
    calculator = StepBatchsizeNumMicroBatchesCalculator(parsed["micro_batch_size"], 4, False, 0, schedule, length)
    found, trained = [], 0
    while trained < 2000:
        calculator.update(trained, consistency_check=True, verbose=False)
        found.append(calculator.get_current_global_batch_size())
        assert found[-1] == batch_size(training, trained), trained
        trained += found[-1]
    assert sorted(set(found)) == [16, 32, 48, 64]


@pytest.mark.parametrize("kind", ["tiny", "larger"])
def test_megatron_lms_own_parser_takes_them(folder: Path, tmp_path: Path, kind: str) -> None:
    run, a = larger(folder) if kind == "larger" else (load_run(folder), read_architecture(folder / "checkpoint"))
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_text(arguments_script(run, a, {"a_b_c=1": 0.75, "d_e_f=1": 0.25}))
    parsed = parse(script, CHECKOUT, process_count(run))
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
        "lr_decay_style": "WSD" if kind == "larger" else "cosine",
        "adam_beta2": training["adam_beta2"],
        "data_path": ["0.75", "data/a_b_c=1", "0.25", "data/d_e_f=1"],
    }
    assert {key: parsed.get(key) for key in wanted} == wanted
    multiple = parsed["make_vocab_size_divisible_by"] * parsed["tensor_model_parallel_size"]
    assert multiple == a.padded_vocab_size(run["parallel"]["tensor"])
    if kind == "tiny":
        assert parsed["global_batch_size"] == training["global_batch_size_sequences"]
    if kind == "larger":
        check_batch_sizes(parsed, training)
        assert (parsed["lr_wsd_decay_style"], parsed["lr_wsd_decay_samples"]) == ("minus_sqrt", 100 * 64)
        assert parsed["train_samples"] == parsed["lr_decay_samples"] == sequences_after(training, 1000)
        assert parsed["lr_warmup_samples"] == 16, "of the ramp-up's first batch"
        assert parsed.get("train_iters") is None
        assert (parsed["recompute_granularity"], parsed["recompute_modules"]) == ("selective", ["mlp"])
