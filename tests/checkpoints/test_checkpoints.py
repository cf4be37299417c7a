"""Checkpoints: the same weights after a round trip, the same logits on every layout, whoever wrote them."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llamas import (
    KINDS,
    SCALING,
    change_config,
    change_tensors,
    convert,
    export,
    load_plain,
    make_llama,
    same_tensors,
    tensors_of,
)
from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.copying import OpenFiles, copy_tensors
from pretrain_llama.checkpoints.huggingface import HuggingFaceLayout
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.checkpoints.verification import verify_padding, verify_tensors
from pretrain_llama.files import read_json, sha256
from pretrain_llama.launch.local import run_processes
from project import ROOT, SCRIPTS, run_script

LAYOUTS = [(1, 1), (2, 1), (1, 2)]


BF16_KINDS = [kind for kind, settings in KINDS.items() if settings.get("dtype") == "bfloat16"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of Llama, in {kind}/source, converted for 2 tensor parallel processes, and used by megatron-core."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        make_llama(folder / kind / "source", kind)
        convert(folder / kind / "source", folder / kind / "megatron", tensor=2)
    run_processes([sys.executable, str(ROOT / "tests" / "support" / "megatron_ranks.py"), str(folder)], 2)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_megatron_core_computes_the_logits_of_transformers_on_every_layout(kinds: Path, kind: str) -> None:
    compared = read_json(kinds / "logits.json")[kind]
    assert compared["largest_logit"] > 1, "the comparison is not vacuous"
    assert compared["skipped"] == []
    found = [each for each in compared["logits"] if each["precision"] == "fp32"]
    assert [(each["tensor"], each["pipeline"]) for each in found] == LAYOUTS
    for each in found:
        assert each["largest_difference"] <= 1e-5
        assert each["agreement"] == 1


def test_four_processes_compare_both_kinds_of_parallelism_at_once(kinds: Path, tmp_path: Path) -> None:
    kind, output = kinds / "llama31", tmp_path / "logits.json"
    paths = ["--source", kind / "source", "--checkpoint", kind / "megatron", "--output", output]
    run_processes([sys.executable, str(SCRIPTS / "compare_logits.py"), *map(str, paths)], 4)
    compared = read_json(output)
    assert [(each["tensor"], each["pipeline"]) for each in compared["logits"]] == [*LAYOUTS, (2, 2)]
    assert all(each["largest_difference"] <= 1e-5 for each in compared["logits"])


@pytest.mark.parametrize("kind", BF16_KINDS)
def test_bf16_logits_differ_as_its_arithmetic_lets_them(kinds: Path, kind: str) -> None:
    compared = read_json(kinds / "logits.json")[kind]
    found = [each for each in compared["logits"] if each["precision"] == "bf16"]
    assert [(each["tensor"], each["pipeline"]) for each in found] == LAYOUTS
    for each in found:
        assert 0 < each["largest_difference"] <= each["allowed"] < 0.1 * compared["largest_logit"]
        assert each["clear"] > 100
        assert each["clear_agreement"] == 1


def test_layers_of_transformer_engine_find_that_they_have_no_state(kinds: Path) -> None:
    """Their weights have the names that all layers write; without these entries Megatron-LM would not load them."""
    states = read_json(kinds / "states.json")
    assert len(states) == 2 * 5 + 1
    assert set(states.values()) == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_gives_every_bit_back(kinds: Path, kind: str, tmp_path: Path) -> None:
    source, converted = kinds / kind / "source", kinds / kind / "megatron"
    back = export(converted, source, tmp_path / "back")
    assert same_tensors(source, back)
    assert (back / "tokenizer.model").read_bytes() == b"any"
    model = AutoModelForCausalLM.from_pretrained(back, dtype="auto")
    assert str(model.dtype) == f"torch.{KINDS[kind].get('dtype', 'float32')}"
    verify_tensors(source, converted)
    assert passport.read(converted)["tensors"] == passport.read(back)["tensors"], "the same hashes in both formats"


@pytest.mark.parametrize("format_", ["older", "newer"])
@pytest.mark.parametrize("kind", ["llama31", "llama32"])
def test_what_megatron_lm_writes_is_read(kinds: Path, kind: str, format_: str, tmp_path: Path) -> None:
    """Of 2 tensor or 2 pipeline parallel processes; with an optimizer, random states and arguments beside the model."""
    source = kinds / kind / "source"
    written = kinds / kind / format_
    loaded = {name: tensor.float() for name, tensor in tensors_of(source).items()}  # as megatron_ranks.py computes
    back = export(written, source, tmp_path / "back")
    found = tensors_of(back)
    assert found.keys() == loaded.keys()
    assert all(torch.equal(found[name], loaded[name]) for name in loaded)
    assert read_json(back / "config.json").get("dtype", read_json(back / "config.json").get("torch_dtype")) == "float32"


@pytest.mark.parametrize("kind", ["llama31", "llama32"])
def test_transformers_takes_weights_from_any_format(kinds: Path, kind: str) -> None:
    """As a verification does whose source is no Hugging Face folder."""
    assert read_json(kinds / "older.json")[kind] == 0


def test_what_megatron_lm_wrote_becomes_a_checkpoint_to_start_from(kinds: Path, tmp_path: Path) -> None:
    """A config.json beside its checkpoints is all that a source needs; its padding is made anew."""
    delivered = shutil.copytree(kinds / "llama31" / "older", tmp_path / "delivered")
    shutil.copy(kinds / "llama31" / "source" / "config.json", delivered)
    result = run_script("convert_checkpoint.py", "--source", delivered, "--output", tmp_path / "converted")
    assert result.returncode == 0, result.stderr
    assert passport.read(tmp_path / "converted")["source"]["format"] == "megatron_torch"
    assert same_tensors(kinds / "llama31" / "source", export(tmp_path / "converted", delivered, tmp_path / "back"))


@pytest.mark.parametrize(("padding_rows", "tied"), [("mean", False), ("zero", False), ("zero", True)])
def test_the_vocabulary_is_padded_on_purpose(tmp_path: Path, padding_rows: str, tied: bool) -> None:
    source = make_llama(tmp_path / "source", dtype="bfloat16", tie_word_embeddings=tied)
    converted = convert(source, tmp_path / "converted", tensor=2, multiple=96, padding_rows=padding_rows)
    padding = passport.read(converted)["padding"]
    assert padding == {"multiple": 96, "tensor_parallel": 2, "padded_vocab_size": 384, "rows": padding_rows}
    assert read_architecture(converted).padded_vocab_size(2) == 384, "the trainer builds its model so"
    padded = load_plain(converted)
    last = "embedding.word_embeddings.weight" if tied else "output_layer.weight"
    tensors = tensors_of(source)
    for name, ours in [("embedding.word_embeddings.weight", "model.embed_tokens.weight"), (last, "lm_head.weight")]:
        own = tensors["model.embed_tokens.weight" if tied else ours]
        mean = own.double().mean(0).float().bfloat16()
        wanted = torch.zeros_like(mean) if padding_rows == "zero" and name == last else mean
        assert torch.equal(padded[name][:300], own)
        assert (padded[name][300:] == wanted).all()
        assert len(padded[name]) == 384
    assert verify_padding(converted) == 84


def test_large_models_are_written_in_several_files(kinds: Path, tmp_path: Path) -> None:
    source = kinds / "llama2" / "source"
    architecture = read_architecture(source)
    tensors = open_tensors(source, architecture)
    layout = HuggingFaceLayout(tmp_path, tensors.specs, shard_bytes=100_000)
    layout.write_frame()
    copy_tensors(tensors, layout, {}, "a test")
    shutil.copy(source / "config.json", tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == [f"model-{number:05d}-of-{len(names):05d}.safetensors" for number in range(1, len(names) + 1)]
    assert len(names) > 2
    assert same_tensors(source, tmp_path)
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_passport_says_where_everything_is_from(kinds: Path) -> None:
    source = kinds / "llama31" / "source"
    recorded = passport.read(kinds / "llama31" / "megatron")
    files = [path for path in source.iterdir() if path.suffix == ".safetensors"]
    assert len(files) > 2
    assert recorded["source"] == {
        "format": "huggingface",
        "files": {path.name: sha256(path) for path in sorted([source / "config.json", *files])},
    }
    assert recorded["config"] == read_json(source / "config.json")
    assert recorded["architecture"]["rope_scaling"] == {key: SCALING[key] for key in SCALING if key != "rope_type"}
    assert recorded["architecture"]["norm_epsilon"] == 1e-5
    assert recorded["dtypes"] == {"fp32": len(recorded["tensors"])}
    assert recorded["tensors"]["lm_head.weight"]["shape"] == [300, 64]
    assert passport.read(kinds / "llama32" / "megatron")["architecture"]["rope_base"] == 300_000.0


def test_a_checkpoint_may_have_many_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        with OpenFiles() as opened:
            for number in range(200):
                (tmp_path / str(number)).write_bytes(b"x")
                opened.read(tmp_path / str(number), memoryview(bytearray(1)), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    first, second = convert(source, tmp_path / "first"), convert(source, tmp_path / "second")
    assert contents(first) == contents(second)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["to Megatron", "to Hugging Face"])
def test_a_killed_conversion_leaves_nothing_that_looks_finished(tmp_path: Path, way: str) -> None:
    """Killed at random moments, then run to its end: the same bytes as of one that was never killed."""
    source = make_llama(tmp_path / "source", vocab_size=1000)
    enlarge(source)
    whole, output = convert(source, tmp_path / "whole"), tmp_path / "converted"
    command = [sys.executable, SCRIPTS / "convert_checkpoint.py", "--source", source, "--output", output]
    if way == "to Hugging Face":
        command = [sys.executable, SCRIPTS / "export_checkpoint.py", "--checkpoint", whole, "--like", source]
        command += ["--output", output]
        whole = export(whole, source, tmp_path / "exported")
    moments = random.Random(0)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(path.is_file() for path in tmp_path.glob(".converted.parts/**/*")):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if process.returncode == -signal.SIGKILL:
            assert not output.exists()
            assert len(list(tmp_path.glob(".converted.parts/*"))) == 1, "what an earlier one left is removed"
        shutil.rmtree(output, ignore_errors=True)
    assert killed >= 3, "most were killed while they wrote"
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert contents(output) == contents(whole)
    assert not (tmp_path / ".converted.parts").exists()


def enlarge(folder: Path) -> None:
    """Give a Llama a vocabulary that takes a moment to copy: 2 x 400,000 x 64 in fp32, 205 MB."""
    change_config(folder, vocab_size=400_000)
    rows = torch.arange(400_000 * 64, dtype=torch.float32).view(-1, 64)
    change_tensors(folder, model__embed_tokens__weight=rows, lm_head__weight=rows + 1)
