"""A tokenizer as configured: what is known of it before the first job."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as TokenizerFile

from pretrain_llama.errors import ConfigError
from pretrain_llama.files import sha256
from pretrain_llama.tokenization.engines import load_reference, read_pieces
from pretrain_llama.tokenization.tokenizer import Tokenizer
from pretrain_llama.vocabulary.model import load_model
from project import Project, train_tokenizer
from screens import check_screen

ROLES = {"bos": "begin", "eos": "end"}
PIECES = [*"abcdefghijklmnopqrstuvwxyz", *(first + second for first in "abcdef" for second in "abcdef")]


def write_json(path: Path, pieces: list[str]) -> Path:
    """Write a tokenizer.json of some pieces, with the two special tokens of a Llama 3 behind them."""
    file = TokenizerFile(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    file.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    file.add_special_tokens([AddedToken("<|begin_of_text|>"), AddedToken("<|end_of_text|>")])
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(str(path))
    return path


def test_tokens_that_a_tokenizer_json_does_not_name_are_asked_for_before_any_job(project: Project) -> None:
    model = write_json(project.folder / "llama3" / "tokenizer.json", PIECES)
    told = {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|end_of_text|>"}}
    model.with_name("tokenizer_config.json").write_text(json.dumps(told))
    chosen = project.config["tokenizers"]["toy"] = {"model": str(model)}
    project.save()
    both = project.snakemake("--dry-run", "data")
    assert f"the tokenizer has no BOS token and no EOS token\n  where: {model}" in both.stdout, both.stdout
    said = [f"{role}_token (tokenizer_config.json beside it says '<|{word}_of_text|>')" for role, word in ROLES.items()]
    assert f"name them as {said[0]} and {said[1]}, or switch off prepend_bos and append_eos" in both.stdout
    chosen |= {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>"}
    project.save()
    one = project.snakemake("--dry-run", "data")
    assert "the tokenizer has no EOS token '<|eot|>'" in one.stdout, one.stdout
    assert f"name it as {said[1]}, or switch off append_eos" in one.stdout
    chosen["eos_token"] = "<|end_of_text|>"
    project.save()
    assert project.pending("data")["merge_shard"]


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_another_tokenizer_than_the_checkpoints_stops_before_any_job(
    project: Project, llama: Path, tokenizer_model: Path, name: str
) -> None:
    checkpoint = shutil.copytree(llama, project.folder / "llama")
    project.config["checkpoints"]["toy-llama"] = str(checkpoint)
    project.save()
    shutil.copy(tokenizer_model, checkpoint / "tokenizer.model")
    assert project.pending("mixture")["merge_shard"]
    (checkpoint / "tokenizer.model").unlink()
    if name == "tokenizer.json":
        write_json(checkpoint / name, PIECES)
    else:
        train_tokenizer(checkpoint / name, user_defined_symbols=["<tool>"])  # before all pieces
    result = project.snakemake("--dry-run", "mixture")
    assert "ids of tokenizer 'toy' are other pieces to the checkpoint: " in result.stdout, result.stdout
    assert f"where: config/runs/tiny/run.yaml: tokenizer; {checkpoint / name}" in result.stdout
    assert "choose the checkpoint's own tokenizer" in result.stdout


def test_renamed_reserved_pieces_and_new_ones_are_no_other_tokenizer(tmp_path: Path) -> None:
    many = [f"{first}{second}{third}" for first in "abcdefgh" for second in "abcdefgh" for third in "abcdefgh"]
    write_json(tmp_path / "checkpoint" / "tokenizer.json", [*many, "<reserved>"])
    ours = Tokenizer("ours", str(write_json(tmp_path / "tokenizer.json", [*many, "<tool>", "new"])))
    ours.check_against_checkpoint(tmp_path / "checkpoint", "run.yaml")
    turned = Tokenizer("turned", str(write_json(tmp_path / "turned.json", [*reversed(many), "<reserved>"])))
    with pytest.raises(ConfigError, match=r"512 of 515 ids of tokenizer 'turned' .* 0 is 'hhh', and was 'aaa'"):
        turned.check_against_checkpoint(tmp_path / "checkpoint", "run.yaml")


def test_a_tokenizer_that_encodes_at_random_stops_before_any_job(project: Project) -> None:
    model = write_json(project.folder / "tokenizer.json", PIECES)
    definition = json.loads(model.read_text())
    definition["model"]["dropout"] = 0.1
    model.write_text(json.dumps(definition))
    named = {f"{role}_token": f"<|{word}_of_text|>" for role, word in ROLES.items()}
    project.config["tokenizers"]["toy"] = {"model": str(model), **named}
    project.save()
    result = project.snakemake("--dry-run", "data")
    check_screen(result, "the tokenizer encodes at random: with dropout 0.1", '"dropout": null', str(model))


def digits(model: Path, *tokens: str) -> str:
    """The hash of a tokenizer's identity, of a framed one that holds nothing out, as earlier versions made it."""
    return hashlib.sha256(f"{sha256(model)}11{''.join(tokens)}".encode()).hexdigest()[:8]


def test_an_identity_changes_where_ids_do(tmp_path: Path, tokenizer_model: Path) -> None:
    assert Tokenizer("a", str(tokenizer_model)).identity == f"a.{digits(tokenizer_model)}"
    named = {f"{role}_token": f"<|{word}_of_text|>" for role, word in ROLES.items()}
    outside = write_json(tmp_path / "outside.json", PIECES)
    assert Tokenizer("a", str(outside), **named).identity == f"a.{digits(outside, *named.values())}"
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((letter, -9.0) for letter in "</s>")]
    TokenizerFile(models.Unigram(vocabulary, unk_id=0)).save(str(tmp_path / "unigram.json"))
    unigram = Tokenizer("a", str(tmp_path / "unigram.json"), bos_token="<s>", eos_token="</s>")
    assert unigram.identity != f"a.{digits(tmp_path / 'unigram.json', '<s>', '</s>')}", "texts that say </s> had EOS"
    assert unigram.identity == Tokenizer("a", str(unigram.model), bos_token="<s>", eos_token="</s>").identity


HUB = "the tokenizer.json that the Hub"
OTHER_FILES = {
    "tiktoken": (b"IQ== 0\nIg== 1\nIw== 2\n", "tiktoken's: lines of base64 and a rank", HUB),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS", "git lfs pull"),
    "merges": ("#version: 0.2\nĠ t\nĠ a\n".encode(), "the merges of a GPT-2 alone", HUB),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_files_that_are_taken_for_a_tokenizer_are_told(tmp_path: Path, kind: str, name: str) -> None:
    content, what, action = OTHER_FILES[kind]
    (tmp_path / name).write_bytes(content)
    for read in (load_reference, read_pieces, load_model):
        with pytest.raises(ConfigError) as refused:
            read(tmp_path / name)
        assert f"the tokenizer's file is {what}" in str(refused.value)
        assert f"where: {tmp_path / name}" in str(refused.value) and action in str(refused.value)
