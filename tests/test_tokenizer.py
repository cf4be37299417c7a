"""A tokenizer as configured: what is known of it before the first job."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as TokenizerFile

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.tokenizer import Tokenizer
from project import Project, train_tokenizer

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
    for role, token in (("bos", "<|begin_of_text|>"), ("eos", "<|end_of_text|>")):
        project.save()
        result = project.snakemake("--dry-run", "data")
        assert f"the tokenizer has no {role.upper()} token\n  where: {model}" in result.stdout, result.stdout
        assert f"name it as {role}_token (tokenizer_config.json beside it says {token!r})" in result.stdout
        chosen[f"{role}_token"] = token
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
