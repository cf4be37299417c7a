"""Megatron-LM's arguments with a checkpoint: all are known, and those that change the computation are refused."""

import argparse
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llamas import convert, export, make_llama, same_tensors
from pretrain_llama import mappings
from pretrain_llama.checkpoints import argument_check, passport, torch_files
from pretrain_llama.checkpoints.architecture import Architecture, RopeScaling
from pretrain_llama.checkpoints.argument_check import check_args, table
from pretrain_llama.checkpoints.conversion import to_megatron
from pretrain_llama.checkpoints.megatron_args import arguments, unlike_megatron_lm
from pretrain_llama.checkpoints.verification import verify_tensors
from pretrain_llama.errors import ConfigError
from pretrain_llama.training import logits
from pretrain_llama.training.processes import process_groups
from project import ROOT, run_script

NAMES = ROOT / "tests" / "data" / "megatron_lm" / "arguments.tsv"
VERSIONS = ("core_v0.16.1", "core_v0.19.0", "main")
OWN = {f"rope_scaling_{name}" for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")}
LLAMA = Architecture(
    layers=2,
    hidden_size=64,
    feed_forward_size=176,
    heads=8,
    key_value_heads=4,
    head_size=8,
    vocab_size=300,
    max_positions=128,
    norm_epsilon=1e-5,
    rope_base=10_000.0,
    rope_scaling=None,
    tied=False,
)
LLAMA_31 = replace(LLAMA, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192), rope_base=500_000.0)


def rows() -> list[dict[str, str]]:
    with open(NAMES, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def namespace(version: str, architecture: Architecture = LLAMA, **changes: Any) -> dict[str, Any]:
    """What a version keeps of a Llama's training: its defaults, and the arguments of the model."""
    defaults = {row["argument"]: json.loads(row[version]) for row in rows() if row[version]}
    kept = defaults | arguments(architecture) | changes
    assert len(kept) > 640 and kept["hidden_dropout"] == 0.1, "a whole namespace"
    return {name: value for name, value in kept.items() if name not in OWN}


def refused(kept: Any, architecture: Architecture = LLAMA, accepted: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        check_args(kept, architecture, Path("checkpoint"), accepted)
    return str(caught.value)


def test_every_argument_of_megatron_lm_is_in_the_table_once() -> None:
    names = [row["argument"] for row in rows()]
    assert len(names) == len(set(names)) > 990
    parts = [set(table().compared), set(table().plain), set(table().reasons)]
    assert set().union(*parts) - OWN == set(names)
    assert sum(map(len, parts)) == len(set().union(*parts)), "none is in two of them"
    rows_of_plain = mappings.read(argument_check.TABLE)["plain"].values()
    assert all(row.keys() == {"values", "otherwise"} for row in rows_of_plain), "a comma begins a key there"


@pytest.mark.skipif(not os.environ.get("MEGATRON_LM"), reason="MEGATRON_LM names no checkout of Megatron-LM")
def test_the_table_has_what_the_parser_of_a_checkout_takes() -> None:
    command = [sys.executable, str(ROOT / "tests" / "support" / "megatron_lm_namespace.py"), os.environ["MEGATRON_LM"]]
    environment = os.environ | {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = json.loads(told.splitlines()[-1])
    assert len(found) > 600
    assert [name for name in found if name not in table()] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("architecture", [LLAMA, LLAMA_31, replace(LLAMA, tied=True, key_value_heads=8)])
def test_a_plain_llama_of_any_version_is_taken(version: str, architecture: Architecture) -> None:
    assert check_args(namespace(version, architecture), architecture, Path("checkpoint")) == {}


@pytest.mark.parametrize("name", sorted(table().plain))
def test_each_argument_that_changes_the_computation_is_refused_with_what_it_does(name: str) -> None:
    other = {"export_model_type": "MambaModel", "softmax_type": "off-by-one"}.get(name, 3)
    assert other not in table().plain[name]
    said = refused(namespace("main") | {name: other})
    assert f"\n    {name}: {other} in the checkpoint, ".replace("off-by-one", "'off-by-one'") in said
    assert f" in a Llama: it {table().otherwise[name]}\n" in said
    assert f"take the responsibility: --accept-argument {name}, or conversion.accept_arguments in config.yaml" in said
    assert "give the config.json" not in said, "it would not help"
    for value in table().plain[name]:
        assert check_args(namespace("main") | {name: value}, LLAMA, Path("checkpoint")) == {}


@pytest.mark.parametrize("name", ["window_attn_skip_freq", "moe_router_topk", "mscale", "fp8", "rotary_scaling_factor"])
def test_what_shapes_a_part_that_is_not_there_changes_nothing(name: str) -> None:
    assert check_args(namespace("main") | {name: 3}, LLAMA, Path("checkpoint")) == {}


def test_all_that_is_wrong_is_said_at_once() -> None:
    kept = namespace("core_v0.16.1", num_layers=3, window_size=(8, 0), no_rope_freq=2, frobnicate={"a": [1] * 100})
    said = refused(kept)
    assert "num_layers: 3 in the checkpoint, 2 by config.json" in said
    assert "window_size: (8, 0) in the checkpoint, None in a Llama: it attends within a window" in said
    assert "no_rope_freq: 2 in the checkpoint, None or 0 in a Llama: it leaves layers without rotary positions" in said
    assert "frobnicate: {'a': [1, 1, 1, 1, 1, 1, ...]} in the checkpoint: unknown here, so it may change" in said
    options = "--accept-argument frobnicate --accept-argument no_rope_freq --accept-argument window_size"
    assert "next:  give the config.json that belongs to the checkpoint; if you know" in said and options in said
    assert "frobnicate" not in refused(kept, accepted=("frobnicate",))
    every = ("frobnicate", "no_rope_freq", "window_size", "num_layers", "lr")
    found = check_args(kept, LLAMA, Path("checkpoint"), every)
    assert found == {
        "num_layers": "3",
        "window_size": "(8, 0)",
        "no_rope_freq": "2",
        "frobnicate": "{'a': [1, 1, 1, 1, 1, 1, ...]}",
    }, "not what needed no acceptance"


def test_the_rotary_factor_is_the_one_that_megatron_lm_computed_with() -> None:
    """pretrain_gpt.py passes use_rope_scaling on, and no factor: its model computes with 8, whatever it is told."""
    wanted = replace(LLAMA_31, rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192))
    kept = namespace("core_v0.16.1", wanted)
    assert kept["rope_scaling_factor"] == 32.0
    assert check_args(kept, LLAMA_31, Path("checkpoint")) == {}
    said = refused(kept, wanted)
    assert "rope_scaling_factor: 8.0 in the checkpoint, 32.0 by config.json: Megatron-LM computes so, whatever" in said
    accepted = check_args(kept, wanted, Path("checkpoint"), ["rope_scaling_factor"])
    assert accepted == {"rope_scaling_factor": "32.0"}, "of a program that passes it on"
    other = replace(LLAMA_31, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 4096))
    said = refused(namespace("main", other), other)
    assert "rope_scaling_original_max_position_embeddings: 8192 in the checkpoint, 4096 by config.json" in said
    assert "use_rope_scaling: True in the checkpoint, False by config.json" in refused(namespace("main", LLAMA_31))


def test_what_is_converted_here_keeps_all_numbers_of_the_scaling() -> None:
    for scaling in (RopeScaling(32.0, 1.0, 4.0, 8192), RopeScaling(4.0, 2.0, 8.0, 32)):
        own = replace(LLAMA_31, rope_scaling=scaling)
        assert check_args(arguments(own), own, Path("checkpoint")) == {}
        assert "rope_scaling_factor" in refused(arguments(own), LLAMA_31)


def test_what_a_version_knew_nothing_of_it_computed_without() -> None:
    kept = namespace("core_v0.16.1")
    for name in ("use_rope_scaling", "rope_scaling_factor", "rotary_base", "no_rope_freq", "window_size", "qk_l2_norm"):
        del kept[name]
    assert check_args(kept, LLAMA, Path("checkpoint")) == {}
    said = refused(kept, LLAMA_31)
    assert "use_rope_scaling: False in the checkpoint, True by config.json: its version knew no other" in said
    assert "rotary_base: 10000 in the checkpoint, 500000.0 by config.json: its version knew no other" in said
    few = {"num_layers": 2, "swiglu": True}
    assert check_args(few, LLAMA_31, Path("checkpoint")) == {}, "a converter's few say nothing of others"


@pytest.mark.parametrize("legacy", [{"use_legacy_models": True}, {"use_mcore_models": False}])
def test_layers_of_before_megatron_core_know_one_base_and_no_scaling(legacy: dict[str, bool]) -> None:
    assert check_args(namespace("core_v0.16.1") | legacy, LLAMA, Path("checkpoint")) == {}
    said = refused(namespace("core_v0.16.1", LLAMA_31) | legacy, LLAMA_31)
    assert "rotary_base: 10000 in the checkpoint, 500000.0 by config.json: layers of before megatron-core" in said
    assert "use_rope_scaling: False in the checkpoint, True by config.json: layers of before megatron-core" in said


@pytest.mark.parametrize(("tensor", "padded", "least"), [(1, 32_000, 31_873), (8, 32_768, 31_745)])
def test_rows_that_were_trained_are_not_cut_off(tensor: int, padded: int, least: int) -> None:
    """Megatron-LM pads to the next multiple, so no model has many more rows than ids."""
    kept = namespace("main", padded_vocab_size=padded, tensor_model_parallel_size=tensor)
    for vocab_size in (least, padded):
        assert check_args(kept, replace(LLAMA, vocab_size=vocab_size), Path("checkpoint")) == {}
    other = replace(LLAMA, vocab_size=least - 1)
    said = refused(kept, other)
    assert (
        f"a vocabulary of more than {least - 1} that was padded to a multiple of 128 x {tensor}, {least - 1} by" in said
    )
    assert "give the config.json that" in said and "--accept-argument padded_vocab_size" in said
    assert check_args(kept, other, Path("checkpoint"), ["padded_vocab_size"]) == {"padded_vocab_size": str(padded)}
    for unknown in (None, "128", 0):
        assert check_args(kept | {"make_vocab_size_divisible_by": unknown}, other, Path("checkpoint")) == {}


def test_a_base_that_is_no_whole_number_is_not_rounded() -> None:
    uneven = replace(LLAMA, rope_base=10_000.5)
    assert "rotary_base: 10000 in the checkpoint, 10000.5 by config.json" in refused(namespace("main", uneven), uneven)
    assert unlike_megatron_lm(uneven) == "rotary_base: 10000.5 -> 10000"


@pytest.mark.parametrize(
    ("name", "value"), [("rotary_percent", 0.5), ("normalization", "LayerNorm"), ("position_embedding_type", "yarn")]
)
def test_where_no_config_helps_none_is_asked_for(name: str, value: object) -> None:
    said = refused(namespace("main") | {name: value})
    assert f"{name}: {value} in the checkpoint, " in said
    assert f"--accept-argument {name}, or" in said and "give the config.json" not in said


@pytest.mark.parametrize("kept", [[1, 2], "args", 7, True])
def test_arguments_that_are_no_namespace_are_refused(kept: object) -> None:
    assert f"the arguments are of type {type(kept).__name__}, no namespace" in refused(kept)


def with_arguments(converted: Path, **changes: Any) -> Path:
    """Change the arguments that a converted checkpoint keeps, as if Megatron-LM had trained it."""
    path = converted / "release" / "common.pt"
    common = torch.load(path, weights_only=False)
    vars(common["args"]).update(changes)
    torch.save(common, path)
    return converted


def test_a_namespace_of_any_class_is_looked_at(tmp_path: Path, source: Path) -> None:
    """Megatron-LM's --yaml-cfg keeps a SimpleNamespace, of namespaces within."""
    from types import SimpleNamespace

    converted = convert(source, tmp_path / "converted")
    kept = SimpleNamespace(num_layers=2, language_model=SimpleNamespace(no_rope_freq=2), yaml_cfg="gpt.yaml")
    torch.save({"args": kept}, converted / "release" / "common.pt")
    with pytest.raises(ConfigError, match=r"language_model: SimpleNamespace.* unknown here") as caught:
        export(converted, source, tmp_path / "back")
    assert "yaml_cfg: 'gpt.yaml' in the checkpoint, None in a Llama: it builds the model of another file" in str(
        caught.value
    )


def test_what_a_person_accepts_is_converted_verified_and_in_the_passport(tmp_path: Path, source: Path) -> None:
    delivered = with_arguments(convert(source, tmp_path / "delivered"), no_rope_freq=2, frobnicate="x" * 1000)
    (delivered / "conversion.json").unlink()
    converted = tmp_path / "converted"
    with pytest.raises(ConfigError, match="no_rope_freq: 2") as caught:
        to_megatron(delivered, converted, 1, 1, 128, "mean", ["frobnicate"])
    assert "frobnicate" not in str(caught.value) and not converted.exists()
    names = ["--accept-argument", "frobnicate", "--accept-argument", "no_rope_freq"]
    result = run_script("convert_checkpoint.py", "--source", delivered, "--output", converted, *names)
    assert result.returncode == 0, result.stderr
    assert "warning: by your responsibility, as arguments of a plain Llama" in result.stderr
    accepted = passport.read(converted)["source"]["accepted_arguments"]
    assert accepted.keys() == {"frobnicate", "no_rope_freq"} and accepted["no_rope_freq"] == "2"
    assert len(accepted["frobnicate"]) < 300
    assert verify_tensors(delivered, converted) == 21, "as the passport says"
    with process_groups(1, 1, "a test"):
        assert logits.compare_layouts(delivered, converted, 1e-5)["logits"][0]["passed"]
    options = ["--checkpoint", delivered, "--like", source, "--output", tmp_path / "back"]
    assert "take the responsibility" in run_script("export_checkpoint.py", *options).stderr
    assert run_script("export_checkpoint.py", *options, *names).returncode == 0
    assert same_tensors(source, tmp_path / "back")
    again = convert(tmp_path / "back", tmp_path / "again")
    assert passport.accepted(again) == accepted, "of what it was made from, too"


def test_a_checkpoint_without_arguments_is_said_to_have_none(tmp_path: Path, source: Path, capsys) -> None:
    delivered = convert(source, tmp_path / "delivered")
    assert "no arguments" not in capsys.readouterr().err
    torch.save({"checkpoint_version": 3.0}, delivered / "release" / "common.pt")
    convert(delivered, tmp_path / "converted")
    assert "warning: no arguments of Megatron-LM lie in" in capsys.readouterr().err


def test_the_documentation_has_the_table() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    import make_reference

    page = make_reference.CHECKPOINTS.read_text()
    assert make_reference.with_arguments(page) == page, "type: make reference"
    for name in [*table().compared, *table().plain]:
        assert f"| `{name}` |" in page


def test_the_kept_namespace_is_argparses(tmp_path: Path) -> None:
    """torch loads what is kept here as a namespace, which Megatron-LM's loader asks for."""
    torch.save({"args": argparse.Namespace(num_layers=2)}, tmp_path / "common.pt")
    assert vars(torch_files.load(tmp_path / "common.pt")["args"]) == {"num_layers": 2}


def test_a_llama_of_another_scaling_is_no_llama_of_megatron_lms(tmp_path: Path, capsys) -> None:
    convert(make_llama(tmp_path / "source", "llama31"), tmp_path / "converted")
    said = capsys.readouterr().err
    assert "warning: Megatron-LM's pretrain_gpt.py would rotate otherwise, rope_scaling_factor: 4.0 -> 8.0; " in said
    assert "Its arguments are not written into the folders of runs that start from this checkpoint" in said
