"""Exports as transformers reads them: BOS, EOS, padding and all ids of texts are those of the run's tokenizer."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType

import pytest
import torch
from sentencepiece import SentencePieceTrainer
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as TokenizerFile
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import export_checkpoint
import export_tokenizer
from llamas import change_config, change_tensors, convert, export, make_llama, same_tensors
from pretrain_llama.checkpoints import passport
from pretrain_llama.errors import PretrainError
from pretrain_llama.exports import agreement
from pretrain_llama.exports.agreement import is_same
from pretrain_llama.exports.small_files import check_source, said, write_small_files
from pretrain_llama.exports.tokenizer_files import write_tokenizer_files
from pretrain_llama.files import read_json, write_json
from pretrain_llama.provenance.writing import write_run_folder
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.tokenization.frame import frame_of
from pretrain_llama.tokenization.texts import Texts
from trainings import Training

ROWS = 512
TEXTS = ["The words of a text\nand  of its second line", " leading", "عن المدينة", "</s> and <|eot_id|> are text"]
LLAMA_3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|pad|>"]
NAMED = {"bos_token": LLAMA_3[0], "eos_token": LLAMA_3[1]}


@pytest.fixture(scope="module")
def llama_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json made as Llama 3's is: byte-level BPE, 400 pieces, five control tokens behind them."""
    file = TokenizerFile(models.BPE(ignore_merges=True))
    file.pre_tokenizer, file.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    file.train_from_iterator(list(topics.values())[:20], trainer)
    file.add_special_tokens([AddedToken(token) for token in LLAMA_3])
    bos = processors.TemplateProcessing(single=f"{LLAMA_3[0]} $A", special_tokens=[(LLAMA_3[0], 400)])
    file.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), bos])
    path = tmp_path_factory.mktemp("llama3") / "tokenizer.json"
    file.save(str(path))
    return path


def make_source(folder: Path, tokenizer: Path | None, config: dict | None = None, **files: object) -> Path:
    """A Llama with a tokenizer, keys of config.json, and further files of JSON; names are given with __ for the dot."""
    make_llama(folder, vocab_size=ROWS)
    (folder / "tokenizer.model").unlink()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content))
    if tokenizer:
        shutil.copy(tokenizer, folder)
    return folder


def exported(source: Path, tokenizer: Path, frame: tuple[bool, bool] = (True, True), **named: str) -> Path:
    """Export a source's weights with the tokenizer of a run; return the folder."""
    made, reference = source.with_name("made"), load_reference(tokenizer, **named)
    write_tokenizer_files(reference, frame_of(reference, *frame), TEXTS, made / "tokenizer")
    write_small_files(source, made / "tokenizer", made / "small")
    return export(convert(source, made / "converted"), made / "small", made / "exported")


def check_ids(folder: Path, tokenizer: Path, bos: int | None, **named: str) -> None:
    """Check that AutoTokenizer gives the ids of the reference, and none above the model's rows."""
    theirs, reference = AutoTokenizer.from_pretrained(folder), load_reference(tokenizer, **named)
    assert max(theirs.get_vocab().values()) < ROWS
    for text in TEXTS[:3]:
        ids, _ = reference.encode(Texts.of([text.encode()]))
        assert theirs(text)["input_ids"] == [*([] if bos is None else [bos]), *ids.tolist()]
        assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True).strip() == text.strip()
    assert passport.read(folder)["tokenizer"]["compared"]["naming"] == 1, "the last one names control tokens"


def test_ids_of_another_tokenizer_in_the_source_give_way(tmp_path: Path, llama_3: Path, tokenizer_model: Path) -> None:
    """A Llama 3 that is trained on with a SentencePiece model, and the other way round."""
    config = {"bos_token_id": 400, "eos_token_id": [401, 402], "pad_token_id": 404}
    told = {"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}, "pad_token": "<|pad|>"}
    told |= {"added_tokens_decoder": {"900": {"content": "<|tool|>"}}, "tokenizer_class": "PreTrainedTokenizerFast"}
    told |= {"chat_template": "{{ messages }}", "model_max_length": 128}
    more = {"tokenizer_config__json": told, "added_tokens__json": {"<|more|>": 901}}
    generation = {"eos_token_id": [401, 402], "bos_token_id": 400, "temperature": 0.6, "suppress_tokens": [403]}
    source = make_source(tmp_path / "source", llama_3, config, generation_config__json=generation, **more)
    folder = exported(source, tokenizer_model)
    check_ids(folder, tokenizer_model, bos=1)
    read = AutoConfig.from_pretrained(folder)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (1, 2, None)
    generating = GenerationConfig.from_pretrained(folder)
    assert (generating.bos_token_id, generating.eos_token_id, generating.temperature) == (1, 2, 0.6)
    assert generating.suppress_tokens is None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", None)
    assert (tokenizer.chat_template, tokenizer.model_max_length) == ("{{ messages }}", 128)
    changed = passport.read(folder)["tokenizer"]["changed"]
    assert "config.json: eos_token_id: [401, 402] -> 2" in changed
    assert "tokenizer_config.json: eos_token: '<|eot_id|>' -> '</s>'" in changed
    assert changed[-1] == "tokenizer_config.json: left out, the run's tokenizer has them not: '<|tool|>', '<|more|>'"

    told = {"bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>", "legacy": False}
    source = make_source(
        tmp_path / "other" / "source", tokenizer_model, {"eos_token_id": 2}, tokenizer_config__json=told
    )
    (source / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    folder = exported(source, llama_3, **NAMED)
    check_ids(folder, llama_3, bos=400, **NAMED)
    read = AutoConfig.from_pretrained(folder)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (400, 401, None)
    assert len(AutoTokenizer.from_pretrained(folder)) == 405


def test_what_a_chat_ended_with_still_ends(tmp_path: Path, llama_3: Path) -> None:
    """The run trains an instruct model's own tokenizer on: its list stays, with what was trained before all."""
    config = {"bos_token_id": 400, "eos_token_id": [402, 403, 7, 9999], "pad_token_id": None}
    told = {"eos_token": "<|eot_id|>", "pad_token": "<|pad|>"}
    folder = exported(make_source(tmp_path / "source", llama_3, config, tokenizer_config__json=told), llama_3, **NAMED)
    read = AutoConfig.from_pretrained(folder)
    assert (read.eos_token_id, read.pad_token_id) == ([401, 402, 403], 404)
    assert AutoTokenizer.from_pretrained(folder).pad_token_id == 404
    record = passport.read(folder)["tokenizer"]
    assert record["tokens"]["eos"] == record["frame"]["eos"] == {"id": 401, "token": "<|end_of_text|>"}
    assert is_same(record["compared"])


@pytest.mark.parametrize("value", [3999, None, "<pad>", [1, 2], -1, 2.0, True])
def test_whatever_ids_a_source_has_the_export_has_the_runs(
    tmp_path: Path, tokenizer_model: Path, value: object
) -> None:
    config = {"bos_token_id": value, "eos_token_id": value, "pad_token_id": value}
    small = tmp_path / "small"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "generation_config.json"):
        (source / name).write_text(json.dumps(config | {"model_type": "llama", "vocab_size": ROWS}))
    reference = load_reference(tokenizer_model)
    write_tokenizer_files(reference, frame_of(reference, False, True), TEXTS, tmp_path / "tokenizer")
    write_small_files(source, tmp_path / "tokenizer", small)
    for read in (AutoConfig.from_pretrained(small), GenerationConfig.from_pretrained(small)):
        assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (1, 2, None)
    tokenizer = AutoTokenizer.from_pretrained(small)
    assert tokenizer("a b")["input_ids"] == tokenizer("a b", add_special_tokens=False)["input_ids"], "without BOS"


def test_generating_ends_where_the_documents_of_the_training_ended(tmp_path: Path, tokenizer_model: Path) -> None:
    wrong = {"bos_token_id": 399, "eos_token_id": 398}
    source = make_source(tmp_path / "source", None, wrong, generation_config__json=wrong)
    prompt = torch.tensor([[1, 5, 6, 7]])
    hidden = AutoModelForCausalLM.from_pretrained(source).model(prompt).last_hidden_state[0, -1].detach()
    output = torch.zeros(ROWS, 64)
    output[2] = hidden  # EOS of the run comes next
    change_tensors(source, lm_head__weight=output)
    folder = exported(source, tokenizer_model)

    def generated(model: Path) -> list[int]:
        read = AutoModelForCausalLM.from_pretrained(model)
        return read.generate(prompt, max_new_tokens=5, do_sample=False)[0, 4:].tolist()

    assert generated(folder) == [2]
    assert len(generated(source)) == 5


def test_what_the_run_does_not_name_is_the_sources_where_it_means_the_same(tmp_path: Path, llama_3: Path) -> None:
    """Of a tokenizer.json without BOS and EOS around its documents, config.yaml names neither."""
    told = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    config = {"bos_token_id": None, "eos_token_id": [402, 403]}
    source = make_source(tmp_path / "source", llama_3, config, tokenizer_config__json=told)
    folder = exported(source, llama_3, (False, False))
    read, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (400, [402, 403], None)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (400, 402)
    check_ids(folder, llama_3, bos=None)


def test_a_mistral_has_its_runs_tokenizer_too(tmp_path: Path, tokenizer_model: Path) -> None:
    source = make_llama(tmp_path / "source", kind="mistral", vocab_size=ROWS)
    folder = exported(source, tokenizer_model)
    assert AutoConfig.from_pretrained(folder).model_type == "mistral"
    check_ids(folder, tokenizer_model, bos=1)


def test_weights_are_exported_with_a_tokenizer_that_no_file_can_be_made_of(tmp_path: Path) -> None:
    model = io.BytesIO()
    lines = "\n".join(topics.values()).split("\n")
    options = {"model_type": "word", "vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2}
    SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **options)
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    source = make_source(tmp_path / "source", None)
    folder = exported(source, tmp_path / "tokenizer.model")
    assert same_tensors(source, folder)
    assert (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists()
    record = passport.read(folder)["tokenizer"]
    assert record["compared"]["differ"] == 3
    assert "AutoTokenizer is not the run's tokenizer: other ids for 3 of 3 texts" in said(record)


def test_a_run_folder_has_what_its_exports_take(tmp_path: Path, training: Training, tokenizer_model: Path) -> None:
    sources, folder = training.folder.with_name("sources"), tmp_path / "run"
    shutil.copytree(training.folder / "mixture", folder / "mixture")
    reference, made = load_reference(tokenizer_model), tmp_path / "made"
    record = write_tokenizer_files(reference, frame_of(reference, True, True), TEXTS, made)
    (tokenizer,) = sources.glob("*/tokenizer.model")
    parts = [sources / part for part in ("run", "indexed", "validation")]

    def write() -> None:
        write_run_folder(*parts, tokenizer, sources / "checkpoint", [], folder, exported_tokenizer=made)

    write()
    written = read_json(folder / "manifest.json")
    assert {"huggingface/config.json", "huggingface/tokenizer.json"} <= written["files"].keys()
    assert read_json(folder / "huggingface" / "export.json")["tokenizer"] == record["tokenizer"]
    assert AutoTokenizer.from_pretrained(folder / "huggingface").eos_token_id == 2
    write_json(made / "export.json", record | {"tokenizer": "of another"})
    with pytest.raises(PretrainError, match=r"what is exported is another tokenizer(.|\n)*--forcerun export_tokenizer"):
        write()
    assert read_json(folder / "manifest.json") == written, "the folder is as it was"


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path, llama_3: Path) -> None:
    reference = load_reference(llama_3, **NAMED)
    write_tokenizer_files(reference, frame_of(reference, True, True), TEXTS, tmp_path / "tokenizer")
    (tmp_path / "config.json").write_text('{"vocab_size": 404}')
    with pytest.raises(PretrainError, match="the tokenizer has 405 ids, the model has rows for 404"):
        write_small_files(tmp_path, tmp_path / "tokenizer", tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("name", ["tokenizer_config", "generation_config", "special_tokens_map", "added_tokens"])
def test_files_of_a_source_that_hold_no_keys_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    check_source(tmp_path)
    for content, message in [("{", "no JSON"), ("[1]", "no keys in the file"), ("null", "no keys in the file")]:
        (tmp_path / f"{name}.json").write_text(content)
        with pytest.raises(PretrainError, match=rf"{message}(.|\n)*{name}\.json"):
            check_source(tmp_path)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What runs one of the two programs here, which saves its imports, on a few texts."""
    monkeypatch.setattr(agreement, "texts_for", lambda reference: TEXTS)
    monkeypatch.setattr(export_tokenizer, "texts_for", lambda reference: TEXTS)

    def run(program: ModuleType, *args: object) -> None:
        monkeypatch.setattr(sys, "argv", [program.__name__, *map(str, args)])
        program.main()

    return run


def test_by_hand_the_tokenizer_is_given(tmp_path: Path, tokenizer_model: Path, by_hand: Callable, capfd) -> None:
    source = make_source(tmp_path / "source", None, {"bos_token_id": 399})
    checkpoint = ["--checkpoint", convert(source, tmp_path / "converted"), "--like", source]
    made = ["--tokenizer-model", tokenizer_model, "--prepend-bos", "false", "--output", tmp_path / "made"]
    by_hand(export_tokenizer, *made)
    by_hand(export_checkpoint, *checkpoint, "--tokenizer", tmp_path / "made", "--output", tmp_path / "given")
    assert "config.json: bos_token_id: 399 -> 1\n" in capfd.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "given")
    assert tokenizer("a")["input_ids"] == [tokenizer.convert_tokens_to_ids("▁a")], "no BOS"
    for wrong, message in [
        ([*checkpoint[:2], "--tokenizer", source], "--checkpoint goes with --like"),
        (["--run-folder", source, "--tokenizer", source], "a run has its tokenizer"),
    ]:
        with pytest.raises(SystemExit):
            by_hand(export_checkpoint, *wrong, "--output", tmp_path / "none")
        assert message in capfd.readouterr().err


def test_by_hand_the_tokenizer_lies_beside_the_config(
    tmp_path: Path, llama_3: Path, tokenizer_model: Path, by_hand: Callable
) -> None:
    source = make_source(tmp_path / "source", llama_3, {"bos_token_id": 400, "eos_token_id": [401]})
    (source / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<|eot_id|>"}))
    checkpoint = ["--checkpoint", convert(source, tmp_path / "converted"), "--like", source]
    by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "json")
    read = AutoConfig.from_pretrained(tmp_path / "json")
    assert (read.bos_token_id, read.eos_token_id) == (400, [402, 401]), "by config.json, and by name"
    assert is_same(passport.read(tmp_path / "json")["tokenizer"]["compared"])

    (source / "tokenizer.json").unlink()
    shutil.copy(tokenizer_model, source)
    by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "model")
    read = AutoConfig.from_pretrained(tmp_path / "model")
    assert (read.bos_token_id, read.eos_token_id) == (1, 2)
    check_ids(tmp_path / "model", tokenizer_model, bos=1)


def test_by_hand_a_tokenizer_may_be_unknown(tmp_path: Path, by_hand: Callable, capfd) -> None:
    source = make_source(tmp_path / "source", None, {"bos_token_id": 399, "pad_token_id": 511})
    checkpoint = ["--checkpoint", convert(source, tmp_path / "converted"), "--like", source]
    taken = f"warning: the ids and the tokenizer of {source} are taken as they are: "
    by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "none")
    assert f"{taken}it has no tokenizer" in capfd.readouterr().err
    assert AutoConfig.from_pretrained(tmp_path / "none").bos_token_id == 399
    assert "tokenizer" not in passport.read(tmp_path / "none")

    (source / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "tiktoken")
    printed = capfd.readouterr().err
    assert taken in printed and "tiktoken" in printed
    assert (tmp_path / "tiktoken" / "tokenizer.model").exists()

    change_config(source, pad_token_id=512)
    with pytest.raises(PretrainError, match="pad_token_id 512 is no id of a model of 512 rows"):
        by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_by_hand_transformers_is_asked_too(tmp_path: Path, by_hand: Callable) -> None:
    source = make_source(tmp_path / "source", None)
    checkpoint = ["--checkpoint", convert(source, tmp_path / "converted"), "--like", source]
    write_json(source / "generation_config.json", {"max_new_tokens": -1})
    with pytest.raises(PretrainError, match=r"transformers .* refuses it: ValueError, .*max_new_tokens"):
        by_hand(export_checkpoint, *checkpoint, "--output", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
