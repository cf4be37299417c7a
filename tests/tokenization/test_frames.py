"""The frame of documents, handed on: from receipts to the run folder, and to what samples its model."""

import json
from pathlib import Path

import pytest

from pairs import write_pair
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json, write_json
from pretrain_llama.provenance.recorded_frame import recorded_frame
from pretrain_llama.run.folder import read_frame
from project import PREFIX, Project, deliver, jsonl, merge_shard, run_script, tokenize_shard

NAME = f"{PREFIX}_dc=1_sc=1_tc=9"
BOS, EOS = {"id": 1, "token": "<s>"}, {"id": 2, "token": "</s>"}


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_a_frame_is_read_from_receipts_and_else_from_the_pair(
    tmp_path: Path, tokenizer_model: Path, prepend_bos: bool
) -> None:
    assert merge_shard(tmp_path, deliver(tmp_path / "a.jsonl", jsonl(["A tale."]))).returncode == 0
    assert tokenize_shard(tmp_path, tokenizer_model, "--prepend-bos", prepend_bos).returncode == 0
    write_pair(tmp_path / NAME, [[7, 5, 6, 8]])
    place = (str(tmp_path), ["en_books_other_split_0000_text_document_dc=1_sc=1_tc=9", NAME], tmp_path, tokenizer_model)
    assert recorded_frame(*place) == {"bos": BOS if prepend_bos else None, "eos": EOS}, "the first shard has no receipt"
    receipt = read_json(tmp_path / f"{PREFIX}.receipt.json")
    del receipt["frame"]  # as earlier versions wrote them
    write_json(tmp_path / f"{PREFIX}.receipt.json", receipt)
    found = recorded_frame(*place)
    assert found is not None and found["eos"]["id"] == 8
    assert (found["bos"] and found["bos"]["id"]) == (7 if prepend_bos else None)
    assert recorded_frame(str(tmp_path / "none"), [NAME], tmp_path, tokenizer_model) is None


def test_a_run_folder_that_does_not_say_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(
        OperatorError, match=r"does not say what stands around its documents(.|\n)*--forcerun write_run"
    ):
        read_frame(tmp_path)


@pytest.mark.parametrize("bos", [BOS, None], ids=["with BOS", "without"])
def test_a_prompt_begins_as_the_documents_of_the_training(built: Project, tmp_path: Path, bos: dict | None) -> None:
    """Whatever the config.json of the export says."""
    import torch
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaForCausalLM

    run, exported = built.copied_run(tmp_path / "run"), tmp_path / "export"
    manifest = read_json(run / "manifest.json")
    write_json(run / "manifest.json", manifest | {"frame": {"bos": bos, "eos": EOS}})
    exported.mkdir()
    for path in (built.folder / "results" / "runs" / "tiny" / "export" / "final").iterdir():
        (exported / path.name).write_bytes(path.read_bytes())
    config = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps(config | {"bos_token_id": None}))
    result = run_script(
        "sample_text.py", "--model", exported, "--run", run, "--run-folder", run, "--output", tmp_path / "sample.txt"
    )
    assert result.returncode == 0, result.stderr
    model = LlamaForCausalLM.from_pretrained(exported).eval()
    tokenizer = SentencePieceProcessor(model_file=str(run / "tokenizer.model"))
    prompt = torch.tensor([[*([bos["id"]] if bos else []), *tokenizer.encode("A tale of ")]])
    told = model.generate(prompt, max_new_tokens=4, do_sample=False, eos_token_id=2, pad_token_id=2)
    assert (tmp_path / "sample.txt").read_text() == tokenizer.decode(told[0].tolist()) + "\n"
