"""Checkpoints: the same weights after a round trip, the same logits on every layout; what is not known is refused."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llamas import KINDS, SCALING, WEIGHTS, change_config, change_tensors, make_llama, same_tensors, tensors_of
from pretrain_llama.checkpoints import conversion, passport
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.conversion import to_huggingface, to_megatron
from pretrain_llama.checkpoints.copying import copy_tensors
from pretrain_llama.checkpoints.huggingface import HuggingFaceLayout
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.checkpoints.verification import verify_padding, verify_tensors
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import sha256
from pretrain_llama.launch.local import run_processes
from project import ROOT, SCRIPTS, run_script

LAYOUTS = [(1, 1), (2, 1), (1, 2)]
BF16_KINDS = [kind for kind, settings in KINDS.items() if settings.get("dtype") == "bfloat16"]


def convert(source: Path, output: Path, tensor: int = 1, multiple: int = 128, new_rows: str = "mean") -> Path:
    """Convert in this process; return the output."""
    to_megatron(source, output, tensor, 1, multiple, new_rows)
    return output


def export(checkpoint: Path, like: Path, output: Path) -> Path:
    """Export in this process; return the output."""
    architecture = read_architecture(like)
    to_huggingface(open_tensors(checkpoint, architecture), architecture, like, output)
    return output


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of Llama, in {kind}/source, converted for 2 tensor parallel processes, and used by megatron-core."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        make_llama(folder / kind / "source", kind)
        convert(folder / kind / "source", folder / kind / "megatron", tensor=2)
    run_processes([sys.executable, str(ROOT / "tests" / "megatron_ranks.py"), str(folder)], 2)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny Llama of the test's own."""
    return make_llama(tmp_path / "source")


@pytest.mark.parametrize("kind", KINDS)
def test_megatron_core_computes_the_logits_of_transformers_on_every_layout(kinds: Path, kind: str) -> None:
    found = [each for each in json.loads((kinds / "logits.json").read_text())[kind] if each["precision"] == "fp32"]
    assert [(each["tensor"], each["pipeline"]) for each in found] == LAYOUTS
    for each in found:
        assert each["largest_difference"] <= 1e-5
        assert each["agreement"] == 1
        assert each["largest_logit"] > 1, "the comparison is not vacuous"


@pytest.mark.parametrize("kind", BF16_KINDS)
def test_bf16_logits_differ_as_its_arithmetic_lets_them(kinds: Path, kind: str) -> None:
    found = [each for each in json.loads((kinds / "logits.json").read_text())[kind] if each["precision"] == "bf16"]
    assert [(each["tensor"], each["pipeline"]) for each in found] == LAYOUTS
    for each in found:
        assert 0 < each["largest_difference"] <= each["allowed"] < 0.1 * each["largest_logit"]
        assert each["clear"] > 100
        assert each["clear_agreement"] == 1


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


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def test_what_megatron_lm_wrote_becomes_a_checkpoint_to_start_from(kinds: Path, tmp_path: Path) -> None:
    """A config.json beside its checkpoints is all that a source needs; its padding is made anew."""
    delivered = shutil.copytree(kinds / "llama31" / "older", tmp_path / "delivered")
    shutil.copy(kinds / "llama31" / "source" / "config.json", delivered)
    result = run_script("convert_checkpoint.py", "--source", delivered, "--output", tmp_path / "converted")
    assert result.returncode == 0, result.stderr
    assert passport.read(tmp_path / "converted")["source"]["format"] == "megatron_torch"
    assert same_tensors(kinds / "llama31" / "source", export(tmp_path / "converted", delivered, tmp_path / "back"))


@pytest.mark.parametrize(("new_rows", "tied"), [("mean", False), ("zero", False), ("zero", True)])
def test_the_vocabulary_is_padded_on_purpose(tmp_path: Path, new_rows: str, tied: bool) -> None:
    source = make_llama(tmp_path / "source", dtype="bfloat16", tie_word_embeddings=tied)
    converted = convert(source, tmp_path / "converted", tensor=2, multiple=96, new_rows=new_rows)
    padding = passport.read(converted)["padding"]
    assert padding == {"multiple": 96, "tensor_parallel": 2, "padded_vocab_size": 384, "rows": new_rows}
    assert read_architecture(converted).padded_vocab_size(2) == 384, "the trainer builds its model so"
    padded = load_plain(converted)
    last = "embedding.word_embeddings.weight" if tied else "output_layer.weight"
    tensors = tensors_of(source)
    for name, ours in [("embedding.word_embeddings.weight", "model.embed_tokens.weight"), (last, "lm_head.weight")]:
        own = tensors["model.embed_tokens.weight" if tied else ours]
        mean = own.double().mean(0).float().bfloat16()
        wanted = torch.zeros_like(mean) if new_rows == "zero" and name == last else mean
        assert torch.equal(padded[name][:300], own)
        assert (padded[name][300:] == wanted).all()
        assert len(padded[name]) == 384
    assert verify_padding(converted) == 84


def load_plain(converted: Path) -> dict[str, torch.Tensor]:
    """What torch reads of a checkpoint, with nothing of ours."""
    from torch.distributed.checkpoint import FileSystemReader, load

    release = converted / "release"
    described = FileSystemReader(release).read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in described.items()
        if hasattr(entry, "chunks")
    }
    load(tensors, storage_reader=FileSystemReader(release), no_dist=True)
    return tensors


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


def set_config(**changes: object):
    return lambda folder: change_config(folder, **changes)


def set_tensors(**changes: torch.Tensor | None):
    return lambda folder: change_tensors(folder, **changes)


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def cut_short(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-10])


def break_header(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[8:12] = b"????"
    (folder / WEIGHTS).write_bytes(content)


def shift_tensors(folder: Path) -> None:
    """Let the header leave a hole between two tensors."""
    content = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"])
    header[last]["data_offsets"] = [at + 4 for at in header[last]["data_offsets"]]
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :] + bytes(4))


def index(weight_map: dict[str, str]):
    """Put an index in place of model.safetensors, whose tensors are then in only.safetensors."""

    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "only.safetensors")
        whole = dict.fromkeys(tensors_of(folder), "only.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": whole | weight_map}))

    return change


LAYER_0 = "model__layers__0__"
REFUSED = {
    "another architecture": (set_config(model_type="gemma"), "model_type 'gemma' is not known"),
    "another head": (
        set_config(architectures=["LlamaForSequenceClassification"]),
        "architectures LlamaForSequenceClassification are not known",
    ),
    "a model with code of its own": (set_config(auto_map={"AutoModel": "x.Y"}), "auto_map .* is not known"),
    "biases of attention": (set_config(attention_bias=True), "attention_bias True is not known"),
    "biases of the MLP": (set_config(mlp_bias=True), "mlp_bias True is not known"),
    "another activation": (set_config(hidden_act="gelu"), "hidden_act 'gelu' is not known"),
    "quantized weights": (set_config(quantization_config={"bits": 4}), "quantization_config .* is not known"),
    "a sliding window": (set_config(sliding_window=4096), "sliding_window 4096 is not known"),
    "Mistral's own sliding window": (
        set_config(model_type="mistral", architectures=["MistralForCausalLM"]),
        "sliding_window 4096 is not known",
    ),
    "layers of other kinds": (
        set_config(layer_types=["full_attention", "sliding_attention"]),
        "layer_types sliding_attention are not known",
    ),
    "partial rotation": (set_config(partial_rotary_factor=0.5), "partial_rotary_factor 0.5 is not known"),
    "partial rotation, elsewhere": (
        set_config(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
        "rope_type 'default with partial_rotary_factor 0.5' is not known",
    ),
    **{
        f"{kind} rope": (
            set_config(rope_parameters={"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}),
            f"rope_type '{kind}' is not known",
        )
        for kind in ("yarn", "linear", "dynamic", "longrope")
    },
    "rope scaling as transformers 4 wrote it": (
        set_config(rope_parameters=None, rope_scaling={"type": "linear", "factor": 2.0}),
        "rope_type 'linear' is not known",
    ),
    "rope by kind of layer": (
        set_config(rope_parameters={"full_attention": {"rope_type": "default"}}),
        "rope_type 'one for each kind of layer' is not known",
    ),
    "rope scaling without one of its numbers": (
        set_config(rope_parameters={key: value for key, value in SCALING.items() if key != "low_freq_factor"}),
        "rope_type llama3 without a number for low_freq_factor",
    ),
    "a config without a size": (set_config(rms_norm_eps=None), "rms_norm_eps None is no number above 0"),
    "heads that are no multiple": (set_config(num_key_value_heads=3), "8 is no multiple of num_key_value_heads 3"),
    "a config that is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "no JSON"),
    "a bias": (
        set_tensors(**{f"{LAYER_0}self_attn__q_proj__bias": torch.zeros(64)}),
        "1 tensors are not a Llama's: model.layers.0.self_attn.q_proj.bias",
    ),
    "a layer too many": (
        set_config(num_hidden_layers=1),
        "9 tensors are not a Llama's: model.layers.1.input_layernorm",
    ),
    "a missing tensor": (set_tensors(model__norm__weight=None), "tensor 'model.norm.weight' is missing"),
    "no output layer": (set_tensors(lm_head__weight=None), "tensor 'lm_head.weight' is missing"),
    "an output layer of its own, though tied": (
        set_config(tie_word_embeddings=True),
        "tie_word_embeddings is true, but lm_head.weight is not model.embed_tokens.weight",
    ),
    "a wrong shape": (
        set_config(vocab_size=301),
        r"'model.embed_tokens.weight' has shape \(300, 64\), \(301, 64\) by config.json",
    ),
    "a wrong dtype": (
        set_tensors(model__norm__weight=torch.zeros(64, dtype=torch.float64)),
        "tensor 'model.norm.weight' has dtype F64, not one of F32, F16, BF16",
    ),
    "layers of different dtypes": (
        set_tensors(**{f"{LAYER_0}mlp__down_proj__weight": torch.zeros(64, 176, dtype=torch.bfloat16)}),
        "model.layers.1.mlp.down_proj.weight has dtype fp32, but bf16 elsewhere",
    ),
    "no weights": (remove_weights, "no weights: no model.safetensors"),
    "weights cut short": (cut_short, "bytes, .* by its header"),
    "a broken header": (break_header, "no header of safetensors"),
    "a file that is none": (lambda folder: (folder / WEIGHTS).write_bytes(b"no"), "no header of safetensors"),
    "tensors with a hole between them": (shift_tensors, "does not begin where another ends"),
    "an index of missing files": (
        index({"lm_head.weight": "b.safetensors", "model.norm.weight": "c.safetensors"}),
        "2 of the 3 files of the index are missing: b.safetensors, c.safetensors",
    ),
    "an index of tensors that are not there": (
        index({"other.weight": "only.safetensors"}),
        "only.safetensors does not hold tensor 'other.weight'",
    ),
    "an index that is none": (
        lambda folder: [remove_weights(folder), (folder / "model.safetensors.index.json").write_text("{}")],
        "no index of safetensors",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_before_anything_is_written(source: Path, tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    change(source)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PretrainError, match=message):
        convert(source, tmp_path / "converted")
    assert sorted(tmp_path.iterdir()) == before


def test_sizes_that_do_not_divide_are_refused(tmp_path: Path, source: Path) -> None:
    sizes = ["--tensor-parallel", 3, "--output", tmp_path / "converted"]
    result = run_script("convert_checkpoint.py", "--source", source, *sizes)
    assert result.returncode == 2
    assert "8 attention heads cannot be cut into 3 equal parts" in result.stderr
    for tensor, pipeline, message in [(8, 1, "4 key-value heads"), (1, 3, "2 layers")]:
        with pytest.raises(PretrainError, match=message):
            to_megatron(source, tmp_path / "converted", tensor, pipeline, 128, "mean")
    assert not (tmp_path / "converted").exists()


def test_what_follows_from_the_rest_may_be_left_in(tmp_path: Path) -> None:
    """Rotary frequencies, as in the first Llamas, and tied embeddings that are written twice."""
    source = make_llama(tmp_path / "source", tie_word_embeddings=True)
    embedding = tensors_of(source)["model.embed_tokens.weight"]
    added = {f"{LAYER_0}self_attn__rotary_emb__inv_freq": torch.ones(4), "lm_head__weight": embedding.clone()}
    change_tensors(source, **added)
    converted = convert(source, tmp_path / "converted")
    recorded = passport.read(converted)
    assert recorded["source"]["files"][WEIGHTS] == sha256(source / WEIGHTS), "they are hashed with the rest"
    assert "lm_head.weight" not in recorded["tensors"]


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


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    first, second = convert(source, tmp_path / "first"), convert(source, tmp_path / "second")
    assert contents(first) == contents(second)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=10**9, free=1000)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PretrainError, match=r"0.0 GB to write, 0.0 GB free"):
        convert(source, tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_killed_conversion_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    """Killed at random moments, then run to its end: the same bytes as of one that was never killed."""
    source = make_llama(tmp_path / "source", vocab_size=1000)
    enlarge(source)
    whole = contents(convert(source, tmp_path / "whole"))
    output = tmp_path / "converted"
    command = [sys.executable, str(SCRIPTS / "convert_checkpoint.py"), "--source", source, "--output", output]
    moments = random.Random(0)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(tmp_path.glob(".converted.*.part/release/*")):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if process.returncode == -signal.SIGKILL:
            assert not output.exists()
            assert len(list(tmp_path.glob(".converted.*.part"))) == 1, "what an earlier one left is removed"
        shutil.rmtree(output, ignore_errors=True)
    assert killed >= 3, "most were killed while they wrote"
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert contents(output) == whole
    assert not list(tmp_path.glob(".converted.*.part"))


def enlarge(folder: Path) -> None:
    """Give a Llama a vocabulary that takes a moment to copy: 2 x 400,000 x 64 in fp32, 205 MB."""
    change_config(folder, vocab_size=400_000)
    rows = torch.arange(400_000 * 64, dtype=torch.float32).view(-1, 64)
    change_tensors(folder, model__embed_tokens__weight=rows, lm_head__weight=rows + 1)


def verify(source: Path, checkpoint: Path, output: Path):
    return run_script("verify_checkpoint.py", "--source", source, "--checkpoint", checkpoint, "--output", output)


def test_a_verification_compares_tensors_padding_and_logits(built, tmp_path: Path) -> None:
    converted = built.folder / "results" / "checkpoints" / "toy-llama_tp=1_pp=1"
    verification = read_json(converted.with_name(f"{converted.name}.verification.json"))
    assert verification["tensors"] == len(passport.read(converted)["tensors"])
    assert verification["padding_rows"] == 512 - 400
    assert [(each["tensor"], each["pipeline"]) for each in verification["logits"]] == LAYOUTS
    assert all(each["largest_difference"] <= 1e-5 for each in verification["logits"])
    assert passport.read(converted)["verification"] == verification
    run_folder = built.folder / "results" / "runs" / "tiny" / "checkpoint"
    assert passport.read(run_folder)["verification"] == verification, "the run folder carries it along"


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.k_proj.weight", "model.layers.1.input_layernorm.weight"])
def test_a_verification_notices_one_weight(tmp_path: Path, source: Path, name: str) -> None:
    converted = convert(source, tmp_path / "converted")
    change_tensors(source, **{name.replace(".", "__"): tensors_of(source)[name] * 1.01})
    result = verify(source, converted, tmp_path / "verification.json")
    assert result.returncode == 2
    assert f"1 of 21 tensors are not those of {source}: {name}" in result.stderr
    assert not (tmp_path / "verification.json").exists()


def test_a_verification_notices_padding_that_is_not_what_it_should_be(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted")
    path = converted / "conversion.json"
    path.write_text(path.read_text().replace('"rows": "mean"', '"rows": "zero"'))
    with pytest.raises(PretrainError, match=r"rows of lm_head.weight from 300 on are not the zero"):
        verify_padding(converted)


def test_logits_that_differ_are_refused(tmp_path: Path, source: Path) -> None:
    """Bit for bit the same weights, but a computation that is another."""
    converted = convert(source, tmp_path / "converted")
    change_config(source, rms_norm_eps=1e-3)
    paths = ["--source", source, "--checkpoint", converted, "--output", tmp_path / "logits.json"]
    result = run_script("compare_logits.py", *paths)
    assert result.returncode == 2
    assert "fp32, tensor 1 x pipeline 1: by up to" in result.stderr
    assert not (tmp_path / "logits.json").exists()


def change_recorded(folder: Path) -> None:
    path = folder / "conversion.json"
    recorded = read_json(path)
    recorded["tensors"]["model.norm.weight"]["dtype"] = "bf16"
    path.write_text(json.dumps(recorded))


def verify_another(folder: Path) -> None:
    (folder / "verification.json").write_text('{"conversion": "of another"}')


def cut_weights(folder: Path) -> None:
    path = folder / "release" / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])


MISMATCHES = {
    "another epsilon": (set_config(rms_norm_eps=1e-6), "config.json: norm_epsilon: 1e-05 -> 1e-06"),
    "another base of the rotary frequencies": (
        set_config(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
        r"config.json: rope_base: 10000.0 -> 500000.0",
    ),
    "another dtype": (change_recorded, "model.norm.weight: .*'bf16'.* -> .*'fp32'"),
    "a verification of another conversion": (verify_another, "verification: of another conversion"),
    "weights cut short": (cut_weights, r"release/__0_0.distcp: [\d,]+ bytes -> [\d,]+"),
    "weights that are missing": (
        lambda folder: (folder / "release" / "__0_0.distcp").unlink(),
        r"release/__0_0.distcp: [\d,]+ bytes -> 0",
    ),
    "no passport": (lambda folder: (folder / "conversion.json").unlink(), "no passport\n"),
    "a passport of another version": (
        lambda folder: (folder / "conversion.json").write_text('{"version": 0}'),
        "no passport of this version",
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_checkpoint_that_is_not_what_its_passport_says_is_refused(tmp_path: Path, source: Path, case: str) -> None:
    change, message = MISMATCHES[case]
    converted = convert(source, tmp_path / "converted")
    passport.check(converted, tensor_parallel=1)
    change(converted)
    with pytest.raises(PretrainError, match=message):
        passport.check(converted, tensor_parallel=1)


def test_a_checkpoint_padded_for_another_size_is_refused(tmp_path: Path, source: Path) -> None:
    converted = convert(source, tmp_path / "converted", multiple=64)
    passport.check(converted, tensor_parallel=1)
    with pytest.raises(PretrainError, match=r"padded vocabulary: 320 -> 384 as the model is built"):
        passport.check(converted, tensor_parallel=2)


def export_run(folder: Path, output: Path, *args: object):
    return run_script("export_checkpoint.py", "--run-folder", folder, "--output", output, *args)


def test_any_iteration_of_a_run_is_exported(copy) -> None:
    run = copy.folder / "results" / "runs" / "tiny"
    assert copy.pending("results/runs/tiny/export/4") == {"export_checkpoint": 1}
    result = copy.snakemake("results/runs/tiny/export/4", "results/runs/tiny/export/2")
    assert result.returncode == 0, result.stdout + result.stderr
    folders = [run / "export" / name for name in ("2", "4", "final")]
    assert not same_tensors(folders[0], folders[1])
    assert not same_tensors(folders[1], folders[2])
    recorded = passport.read(folders[2])
    assert recorded["source"]["files"][".metadata"] == sha256(
        run / "output" / "checkpoints" / "iter_0000006" / ".metadata"
    )
    assert "padding" not in recorded
    tokenizers = [(folder / "tokenizer.model").read_bytes() for folder in (folders[2], run)]
    assert tokenizers[0] == tokenizers[1]
    AutoModelForCausalLM.from_pretrained(folders[0])

    result = export_run(run, copy.folder / "out", "--iteration", 3)
    assert result.returncode == 2
    assert "no checkpoint of iteration 3" in result.stderr
    assert "choose one of 2, 4, 6" in result.stderr

    change_config(run / "checkpoint", rms_norm_eps=1e-6)
    result = export_run(run, copy.folder / "out")
    assert result.returncode == 2
    assert "config.json: norm_epsilon: 1e-05 -> 1e-06" in result.stderr
    assert not (copy.folder / "out").exists()


def test_export_needs_a_whole_checkpoint_of_the_same_model(tmp_path: Path, source: Path) -> None:
    convert(source, tmp_path / "checkpoint")

    def refused(*args: object) -> str:
        result = export_run(tmp_path, tmp_path / "back", *args)
        assert result.returncode == 2
        assert not (tmp_path / "back").exists()
        return result.stderr

    assert "the run has no checkpoint" in refused()
    checkpoints = tmp_path / "output" / "checkpoints"
    shutil.copytree(tmp_path / "checkpoint", checkpoints)
    (checkpoints / "release" / ".metadata").unlink()
    assert "no whole torch_dist checkpoint" in refused()
    (checkpoints / "release" / ".metadata").write_bytes(b"no pickle")
    assert "no whole torch_dist checkpoint" in refused()
    larger = make_llama(tmp_path / "larger", num_hidden_layers=3)
    shutil.rmtree(checkpoints)
    convert(larger, checkpoints)
    assert "has shape (3, 64), (2, 64) expected" in refused()
    assert run_script("export_checkpoint.py", "--checkpoint", tmp_path, "--output", tmp_path).returncode == 2
