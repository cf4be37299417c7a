"""Checkpoints that are not known, not whole or do not fit are refused by name, before anything is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llamas import SCALING, WEIGHTS, change_tensors, convert, export, make_llama, set_config, set_tensors, tensors_of
from pretrain_llama import files
from pretrain_llama.checkpoints import passport
from pretrain_llama.checkpoints.conversion import to_megatron
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import sha256
from pretrain_llama.vocabulary.checkpoint import expand_checkpoint
from project import run_script


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


def put(**values: object):
    """Put keys into config.json, null for None."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


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
    "attention to what comes after": (put(is_causal=False), "is_causal False is not known"),
    "attention within chunks": (put(attention_chunk_size=8), "attention_chunk_size 8 is not known"),
    "two lengths that scaling begins at": (
        set_config(rope_parameters=None, rope_scaling=SCALING, original_max_position_embeddings=64),
        "original_max_position_embeddings is 32 in the rotary scaling and 64 outside it",
    ),
    "a base of 0": (
        set_config(rope_theta=5e5, rope_parameters={"rope_type": "default", "rope_theta": 0}),
        r"transformers \S+ rotates by it otherwise than by a base of 500000 and no scaling",
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
    "a boolean for a size": (set_config(hidden_size=True), "hidden_size True is no whole number above 0"),
    "half a layer": (set_config(num_hidden_layers=2.5), r"num_hidden_layers 2.5 is no whole number above 0"),
    "no heads": (set_config(num_key_value_heads=-4), "num_key_value_heads -4 is no whole number above 0"),
    "heads that are no multiple": (set_config(num_key_value_heads=3), "8 is no multiple of num_key_value_heads 3"),
    "a config that is no JSON": (write("config.json", "{"), "no JSON"),
    "an epsilon that is no number": (write("config.json", '{"rms_norm_eps": NaN}'), "no JSON: NaN is no number"),
    "an infinite epsilon": (put(rms_norm_eps=float("inf")), "no JSON: Infinity is no number in JSON"),
    "a base that is no number": (put(rope_theta="10000"), "rope_theta '10000' is no number above 0"),
    "more layers than any model": (set_config(num_hidden_layers=10**9), "num_hidden_layers 1000000000 is no whole"),
    **{
        f"what transformers refuses: {key} {value}": (put(**{key: value}), rf"transformers \S+ refuses it: .*{said}")
        for key, value, said in [
            ("pad_token_id", 300, "Padding_idx must be within num_embeddings"),
            ("pad_token_id", "<pad>", "pad_token_id"),
            ("attention_bias", None, "Field 'attention_bias' expected bool, got NoneType"),
            ("mlp_bias", 0, "Field 'mlp_bias' expected bool, got int"),
            ("tie_word_embeddings", None, "Field 'tie_word_embeddings' expected bool, got NoneType"),
            ("hidden_act", None, "Field 'hidden_act' expected str, got NoneType"),
            ("initializer_range", 1, "Field 'initializer_range' expected float, got int"),
            ("dtype", "fp16", "module 'torch' has no attribute 'fp16'"),
        ]
    },
    "a generation config that transformers refuses": (
        write("generation_config.json", '{"max_new_tokens": -1}'),
        r"transformers \S+ refuses it: ValueError, .*max_new_tokens.*\n  where: .*generation_config.json",
    ),
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
    "weights as torch writes them": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"),
        "of a pytorch_model.bin, transformers' save_pretrained writes them",
    ),
    "weights cut short": (cut_short, "bytes, .* by its header"),
    "a broken header": (break_header, "no header of safetensors"),
    "a file that is none": (lambda folder: (folder / WEIGHTS).write_bytes(b"no"), "no header of safetensors"),
    "tensors with a hole between them": (shift_tensors, "does not begin where another ends"),
    "an index of missing files": (
        index({"lm_head.weight": "b.safetensors", "model.norm.weight": "c.safetensors"}),
        "2 of the 3 files of the index are missing: b.safetensors, c.safetensors",
    ),
    "an index that is missing": (
        lambda folder: (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors"),
        "no model.safetensors.index.json, which says what lies in model-00001-of-00001.safetensors",
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
    for *below_one, message in [
        (0, 1, 128, "tensor parallel size 0 is below 1"),
        (1, -1, 128, "pipeline parallel size -1 is below 1"),
        (1, 1, 0, "multiple of the vocabulary 0 is below 1"),
    ]:
        with pytest.raises(PretrainError, match=message):
            to_megatron(source, tmp_path / "converted", *below_one, "mean")
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


def test_tied_weights_may_be_stored_under_the_name_of_the_output_layer(tmp_path: Path) -> None:
    """As transformers takes them: both names are of one tensor."""
    source = make_llama(tmp_path / "source", tie_word_embeddings=True)
    whole = convert(source, tmp_path / "whole")
    embedding = tensors_of(source)["model.embed_tokens.weight"]
    change_tensors(source, model__embed_tokens__weight=None, lm_head__weight=embedding.clone())
    assert "model.embed_tokens.weight" not in tensors_of(source)
    loaded = AutoModelForCausalLM.from_pretrained(source)
    assert torch.equal(loaded.model.embed_tokens.weight, embedding), "so does transformers"
    converted = convert(source, tmp_path / "converted")
    assert passport.read(converted)["tensors"] == passport.read(whole)["tensors"]
    assert passport.read(converted)["source"]["files"][WEIGHTS] == sha256(source / WEIGHTS)
    assert torch.equal(tensors_of(export(converted, source, tmp_path / "back"))["model.embed_tokens.weight"], embedding)


def test_an_output_takes_the_place_of_nothing_but_a_conversion(tmp_path: Path, source: Path) -> None:
    """It is written anew, and what was there is deleted."""
    converted, kept, pieces = convert(source, tmp_path / "converted"), tmp_path / "kept", tmp_path / "pieces.tsv"
    pieces.write_text("id\tpiece\tbefore\n300\tab\t1 2\n")
    ways = {
        "convert": lambda output: convert(source, output),
        "export": lambda output: export(converted, source, output),
        "expand": lambda output: expand_checkpoint(source, pieces, pieces, "mean", output),
    }
    kept.mkdir()
    (kept / "notes.txt").write_text("of another kind")
    (convert(source, tmp_path / "trained") / "iter_0000010").mkdir()
    (tmp_path / "trained" / "iter_0000010" / "common.pt").write_bytes(b"of a training that went on there")
    before = {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()}
    for write in ways.values():
        for output, message in [
            (source, f"would take the place of {source}"),
            (tmp_path, f"would take the place of {tmp_path}/"),
            (kept, "would take the place of what is there, which no conversion wrote"),
            (kept / "notes.txt", "would take the place of what is there"),
            (tmp_path / "trained", "would take the place of what is there, which no conversion wrote"),
        ]:
            with pytest.raises(PretrainError, match=message):
                write(output)
    assert {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty")
    convert(source, converted, tensor=2)
    assert passport.read(converted)["padding"]["tensor_parallel"] == 2, "an earlier one is written anew"


def test_a_full_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=10**9, free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PretrainError, match=r"0.0 GB to write, 0.0 GB free"):
        convert(source, tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
