"""The trainer of a run: which program launchers start, its arguments, and what is refused before the first job."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretrain_llama.checkpoints.architecture import Architecture, RopeScaling
from pretrain_llama.configuration import load_run, validate
from pretrain_llama.errors import ConfigError, OperatorError
from pretrain_llama.estimate.memory import estimate
from pretrain_llama.launch import azureml_job, slurm_script
from pretrain_llama.launch.megatron_lm import arguments_script, fixed_arguments, own_arguments
from pretrain_llama.launch.megatron_lm_check import _contradiction, check_own_arguments, words
from pretrain_llama.run.identity import changed_parts, differences, trainer_part
from pretrain_llama.run.phases import Phase, check_change
from pretrain_llama.run.sizes import check_sizes
from pretrain_llama.run.trainers import check_engine, check_program, check_trainer_settings

LLAMA = Architecture(2, 64, 96, 8, 4, 8, 400, 128, 1e-5, 10000.0, None, False)
TRAINING = {
    "iterations": 6,
    "sequence_length_tokens": 32,
    "micro_batch_size_sequences": 2,
    "global_batch_size_sequences": 8,
    "learning_rate": 3e-3,
}


def run_of(trainer: str = "megatron_lm", arguments: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Any:
    """A run.yaml with every default."""
    keys = {"tokenizer": "toy", "checkpoint": "toy-llama", "trainer": trainer, "training": deepcopy(TRAINING)}
    for section, changes in sections.items():
        keys[section] = keys.get(section, {}) | changes
    return validate(keys | {"megatron_lm": {"arguments": arguments or {}}}, "run", "run.yaml")


@pytest.mark.parametrize(
    ("trainer", "program"), [("pretrain_llama", "train.py"), ("megatron_lm", "train_megatron_lm.py")]
)
def test_each_launcher_starts_the_program_of_the_trainer(trainer: str, program: str) -> None:
    run = run_of(trainer)
    assert f"python code/scripts/{program} . ||" in slurm_script.script("toy", run)
    assert f"python code/scripts/{program} . --live-tensorboard" in azureml_job.job("toy", run, [])["command"]
    check_program(run, program, Path("folder"))
    with pytest.raises(ConfigError, match=rf"other.py was started, and the run says trainer: {trainer}"):
        check_program(run, "other.py", Path("folder"))


STAGE = {"iterations": 1, "trains": "all", "learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_of("pretrain_llama", {"lr": 1}), "arguments for Megatron-LM, lr, and trainer: pretrain_llama"),
        (run_of(training={"reset_attention_mask": True}), "reset_attention_mask: true is not for trainer: megatron_lm"),
        (run_of(operation={"on_not_finite": "skip"}), "on_not_finite: skip is not for"),
        (run_of(operation={"on_spike": "rewind"}), "on_spike: rewind is not for"),
        (
            run_of(training={"stages": [STAGE]}),
            r"stages: .*iterations.* is not for",
        ),
        (run_of(training={"new_rows_rate": 2.0}), r"new_rows_rate: 2\.0 is not for"),
        (run_of(operation={"hooks": {"every_iterations": 1, "command": "true"}}), "set hooks: null, or trainer"),
        (run_of(operation={"profile": {"iterations": [1, 2]}}), "profile: .* is not for"),
        (run_of(operation={"deterministic": True}), "deterministic: true is not for"),
    ],
    ids=["arguments", "masks", "not finite", "spikes", "stages", "new rows", "hooks", "traces", "determinism"],
)
def test_what_a_trainer_cannot_do_is_refused(run: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_trainer_settings(run, LLAMA, "run.yaml")


def test_a_model_that_it_would_compute_otherwise_is_refused() -> None:
    scaled = Architecture(**vars(LLAMA) | {"rope_scaling": RopeScaling(32.0, 1.0, 4.0, 8192)})
    check_trainer_settings(run_of(), LLAMA, "run.yaml")
    with pytest.raises(ConfigError, match=r"another model: rope_scaling_factor: 32\.0 -> 8\.0"):
        check_trainer_settings(run_of(), scaled, "run.yaml")


def test_sequence_parallelism_needs_transformer_engine() -> None:
    check_engine(run_of(), Path("folder"))
    with pytest.raises(OperatorError, match="needs Transformer Engine"):
        check_engine(run_of(parallel={"tensor": 2, "sequence": True}), Path("folder"))


def test_the_distributed_optimizer_is_its_default(tmp_path: Path) -> None:
    plain = {"tokenizer": "toy", "checkpoint": "toy-llama", "training": TRAINING}
    for keys, wanted in (
        ({}, False),
        ({"trainer": "megatron_lm"}, True),
        ({"trainer": "megatron_lm", "parallel": {"distributed_optimizer": False}}, False),
    ):
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(plain | keys))
        assert load_run(tmp_path)["parallel"]["distributed_optimizer"] is wanted


def test_defaults_may_be_changed_and_left_out() -> None:
    parallel = {"data": 4, "distributed_optimizer": True}
    chosen = own_arguments(run_of(parallel=parallel), True)
    assert chosen == {
        "transformer-impl": ["transformer_engine"],
        "attention-backend": ["auto"],
        "overlap-grad-reduce": [],
        "overlap-param-gather": [],
    }
    changes = {"overlap_param_gather": False, "attention-backend": "flash", "fp8-format": "hybrid"}
    changes |= {"recompute-modules": ["mlp", "layernorm"], "log-throughput": True}
    chosen = own_arguments(run_of(arguments=changes, parallel=parallel), False)
    assert "overlap-param-gather" not in chosen and chosen["transformer-impl"] == ["local"]
    assert chosen["attention-backend"] == ["flash"] and chosen["fp8-format"] == ["hybrid"]
    assert chosen["recompute-modules"] == ["mlp", "layernorm"] and chosen["log-throughput"] == []


def test_the_script_has_the_same_arguments(tmp_path: Path) -> None:
    """With Transformer Engine and without: bash asks the python of the path whether it is there."""
    run = run_of(arguments={"log-throughput": True}, parallel={"data": 2})
    script = tmp_path / "megatron_lm_arguments.sh"
    script.write_text(arguments_script(run, LLAMA, {"a_b_c=1": 1.0}))
    found = words(script)
    wanted = fixed_arguments(run, LLAMA) | own_arguments(run, False)
    for option, values in wanted.items():
        at = found.index(f"--{option}")
        assert found[at + 1 : at + 1 + len(values)] == values, option
    with_engine = script.read_text().replace("is None)'; then", "is not None)'; then")
    script.write_text(with_engine)
    assert words(script)[words(script).index("--transformer-impl") + 1] == "transformer_engine"
    assert "--no-rope-fusion" not in words(script)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("num_experts", 8, "it "),
        ("qk_layernorm", True, "it normalizes queries and keys"),
        ("rotary_base", 5, "the run fixes it"),
        ("micro_batch_size", 4, "the run fixes it"),
        ("mock_data", True, "the run fixes what it is about, data"),
        ("rampup_batch_size", ["2", "2", "10"], "the run fixes what it is about, batches"),
        ("use_distributed_optimizer", True, "the run fixes what it is about, parallelism"),
        ("exit_interval", 5, "the run fixes what it is about, "),
        ("of_a_later_version", 1, "the run fixes what it is about, unknown here"),
    ],
)
def test_an_argument_that_contradicts_the_run_is_found(name: str, value: Any, why: str) -> None:
    said = _contradiction(name, value, fixed_arguments(run_of(), LLAMA))
    assert said is not None and said.startswith(why)


@pytest.mark.parametrize(
    "name",
    [
        "fp8",
        "context_parallel_size",
        "num_layers_per_virtual_pipeline_stage",
        "overlap_grad_reduce",
        "recompute_granularity",
        "attention_backend",
        "transformer_impl",
        "profile",
        "num_workers",
        "tp_comm_overlap",
    ],
)
def test_what_makes_it_fast_is_free(name: str) -> None:
    assert _contradiction(name, "a value", fixed_arguments(run_of(), LLAMA)) is None


def test_only_a_default_can_be_left_out() -> None:
    with pytest.raises(ConfigError, match="swiglu: false leaves out what is no default here, and the run fixes"):
        check_own_arguments(run_of(arguments={"swiglu": False}), LLAMA, "run.yaml")
    check_own_arguments(run_of(), LLAMA, "run.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fp8-formt": "hybrid"}, "Megatron-LM does not take them: unrecognized arguments: --fp8-formt hybrid"),
        ({"lr": 1}, "lr: 1.0, and by the rest of the run 0.003: the run fixes it"),
        ({"recompute-granularity": "selective", "log-throughput": True}, None),
    ],
    ids=["unknown", "contradicting", "good"],
)
def test_its_own_parser_judges_them_before_the_first_job(arguments: dict[str, Any], said: str | None) -> None:
    if said is None:
        check_own_arguments(run_of(arguments=arguments), LLAMA, "run.yaml")
        return
    with pytest.raises(ConfigError, match=said):
        check_own_arguments(run_of(arguments=arguments), LLAMA, "run.yaml")


def test_a_begun_run_keeps_its_trainer() -> None:
    ours, theirs = (
        {"training": {"seed": 1}} | trainer_part(run_of(each)) for each in ("pretrain_llama", "megatron_lm")
    )
    assert "trainer" not in ours, "trainings of earlier versions have no such part"
    for before, now in ((ours, theirs), (theirs, ours)):
        assert changed_parts(before, now) == ["trainer"]
        told = f"trainer: {before.get('trainer', 'pretrain_llama')} -> {now.get('trainer', 'pretrain_llama')}"
        assert told in differences(before, now)
        before, now = ({**each, "data": {}} for each in (before, now))
        for on_change, said in (("refuse", "the run changed"), ("new_phase", "no new phase can begin where trainer")):
            with pytest.raises(OperatorError, match=said):
                check_change([Phase(3, 24, {}, before)], now, on_change, Path("output"))


def test_context_parallelism_cuts_sequences_and_needs_no_larger_batch() -> None:
    plain = run_of(parallel={"data": 8})
    with pytest.raises(ConfigError, match="no multiple of 16"):
        check_sizes(plain, LLAMA, 400, "run.yaml")
    cut = run_of(arguments={"context-parallel-size": 2}, parallel={"data": 8})
    check_sizes(cut, LLAMA, 400, "run.yaml")
    assert estimate(cut, LLAMA)["activations"] == estimate(plain, LLAMA)["activations"] / 2
