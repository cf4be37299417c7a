"""Samples of an exported model: of the tokenizer's ids alone, from prompts that hold something."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForCausalLM

import sample_text
from llamas import change_tensors, make_llama
from pretrain_llama.errors import PretrainError
from pretrain_llama.files import write_json
from project import Project
from trainings import RUN

EOS = {"id": 2, "token": "</s>"}


def test_rows_that_are_no_id_of_the_tokenizer_are_not_sampled(
    tmp_path: Path, tokenizer_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 512 rows, the tokenizer has 400; the others may be what comes next, and stand for no text."""
    model = make_llama(tmp_path / "model", vocab_size=512)
    ids = SentencePieceProcessor(model_file=str(tokenizer_model)).encode("a")
    read = AutoModelForCausalLM.from_pretrained(model)
    hidden = read.model(torch.tensor([ids])).last_hidden_state[0, -1].detach()
    output = torch.zeros(512, 64)
    output[511], output[ids[-1]] = hidden, hidden / 2
    change_tensors(model, lm_head__weight=output)
    shutil.copy(tokenizer_model, tmp_path)
    write_json(tmp_path / "manifest.json", {"frame": {"bos": None, "eos": EOS}})

    def sample(text: str) -> str:
        run = RUN | {"sample": {"prompts": [text], "new_tokens": 1}}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
        paths = {"--model": model, "--run": tmp_path, "--run-folder": tmp_path, "--output": tmp_path / "sample.txt"}
        monkeypatch.setattr(sys, "argv", ["sample_text.py", *(str(word) for pair in paths.items() for word in pair)])
        sample_text.main()
        return (tmp_path / "sample.txt").read_text()

    assert sample("a") == "a a\n"
    with pytest.raises(PretrainError, match=r"the prompt '' has no token.*\n.*run\.yaml\n  next:  give another"):
        sample("")


def test_a_prompt_of_no_token_stops_before_any_job(project: Project) -> None:
    project.run["sample"]["prompts"] = ["A tale", ""]
    project.save()
    assert project.pending()["sample_text"] == 1, "BOS can be continued"
    project.config["tokenizers"]["toy"] |= {"prepend_bos": False}
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "the prompt '' has no token, and documents of the run begin without BOS" in result.stdout
    assert "where: config/runs/tiny/run.yaml: sample.prompts" in result.stdout
