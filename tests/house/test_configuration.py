"""Wrong configuration stops the workflow before any job runs, and says what, where and what next."""

import json
from collections.abc import Callable

import pytest

from pretrain_llama.configuration import load_corpora
from project import COLUMNS, Project

EN = ["en", "books", "tales", "vendor/en_books_tales/*", "text"]
AR = ["ar", "news", "daily", "vendor/ar_news_daily/*", "text"]


def set_config(key: str, value: object) -> Callable[[Project], None]:
    return lambda project: project.config.__setitem__(key, value)


def set_run(key: str, value: object) -> Callable[[Project], None]:
    return lambda project: project.run.__setitem__(key, value)


def set_training(key: str, value: object) -> Callable[[Project], None]:
    return lambda project: project.run["training"].__setitem__(key, value)


def corpora(*rows: list[str], columns: tuple[str, ...] = COLUMNS) -> Callable[[Project], None]:
    return lambda project: project.corpora(*rows, columns=columns)


def choose(name: str, value: object) -> Callable[[Project], None]:
    return lambda project: project.choose(name, value)


def remove(path: str) -> Callable[[Project], None]:
    return lambda project: (project.folder / path).unlink()


WRONG = {
    "a misspelt key": (
        set_config("shard_sise_bytes", 1),
        ["unknown key 'shard_sise_bytes'", "config/config.yaml", "write 'shard_size_bytes'"],
    ),
    "a key like no other": (
        set_config("zzz", 1),
        ["unknown key 'zzz'", "remove it; the keys are checkpoints, conversion, corpora"],
    ),
    "a wrong type": (
        set_config("shard_size_bytes", "2 GB"),
        ["'2 GB' is not a whole number from 1 to 1e15", "config/config.yaml: shard_size_bytes", "in bytes"],
    ),
    "an exponent that YAML takes for text": (
        set_training("learning_rate", "3e-3"),
        [
            "'3e-3' is not a number above 0 to 1e15",
            "run.yaml: training.learning_rate",
            "write the exponent as in 3.0e-3",
        ],
    ),
    "a missing key": (
        lambda project: project.run.pop("tokenizer"),
        ["'tokenizer' is a required property", "config/runs/tiny/run.yaml", "add the key"],
    ),
    "a run that is not there": (
        set_config("runs", ["tinny"]),
        ["no such file", "config/runs/tinny/run.yaml", "write it"],
    ),
    "an unknown tokenizer": (
        set_run("tokenizer", "llama"),
        ["unknown tokenizer 'llama'", "config/runs/tiny/run.yaml: tokenizer", "those in config.yaml: toy"],
    ),
    "arguments of an unknown checkpoint": (
        set_config("conversion", {"accept_arguments": {"llama": ["spec"]}}),
        ["unknown checkpoint 'llama'", "config/config.yaml: conversion.accept_arguments", "toy-llama"],
    ),
    "an unknown checkpoint": (set_run("checkpoint", "llama"), ["unknown checkpoint 'llama'", "toy-llama"]),
    "no tokenizer model": (
        set_config("tokenizers", {"toy": {"model": "nowhere/tokenizer.model"}}),
        [
            "tokenizer 'toy' has no model file",
            "nowhere/tokenizer.model",
            "put the tokenizer.model or tokenizer.json there",
        ],
    ),
    "a tokenizer model that is none": (
        set_config("tokenizers", {"toy": {"model": "config/config.yaml"}}),
        ["no SentencePiece model", "config/config.yaml", "give a tokenizer.model or a tokenizer.json"],
    ),
    "a tokenizer's name with an underscore": (
        set_config("tokenizers", {"demo_8k": {"model": "tokenizer.model"}}),
        ["'demo_8k' does not match", "config/config.yaml: tokenizers", 'letters, digits and "-" alone', "its"],
    ),
    "a checkpoint's name with an underscore": (
        set_config("checkpoints", {"toy_llama": "llama"}),
        ["'toy_llama' does not match", "config/config.yaml: checkpoints", 'letters, digits, "." and "-" alone'],
    ),
    "no checkpoint": (
        set_config("checkpoints", {"toy-llama": "nowhere"}),
        ["no Hugging Face checkpoint", "nowhere/config.json", "config.json and safetensors"],
    ),
    "a source that matches nothing": (
        corpora(EN, ["ar", "news", "daily", "vendor/nowhere/*", "text"]),
        ["source 'vendor/nowhere/*' matches no file", "config/corpora.tsv:3", "correct the glob"],
    ),
    "two rows of one corpus": (
        corpora(EN, AR, EN),
        [
            "would make the same shards, en_books_tales_split_",
            "corpora.tsv:2 and config/corpora.tsv:4",
            "another subdomain",
        ],
    ),
    "a domain with an underscore": (
        corpora(EN, ["ar", "daily_news", "x", "vendor/ar_news_daily/*", "text"]),
        ["'daily_news' does not match", "config/corpora.tsv:3: domain", 'no "_"'],
    ),
    "a column too few": (corpora(EN, AR[:-1]), ["a row with 5 columns expected", "corpora.tsv:3", "one tab"]),
    "a misspelt column": (
        corpora(EN, columns=("language", "domain", "subdomain", "sources", "text_key")),
        ["unknown key 'sources'", "corpora.tsv:2", "write 'source'"],
    ),
    "an empty table": (corpora(), ["the table of corpora has no row", "add a row for each corpus"]),
    "a corpus without any text": (
        lambda project: project.vendor("ar_news_daily/a.jsonl", b""),
        ["no file of the corpus holds any text", "corpora.tsv:3", "fetch the vendor's files again"],
    ),
    "an unknown domain": (
        choose("data_ratio.json", {"en": {"books": 1, "bokos": 2}, "ar": {"news": 1}}),
        ["the rate of en.bokos matches no shard", "data_ratio.json", "write 'books' for 'bokos', or remove it"],
    ),
    "a domain without a rate": (
        choose("data_ratio.json", {"en": {"books": 1}, "ar": {}}),
        ["domain 'news' of language 'ar' has no rate", "add rates; 0 leaves out", "or choose omissions: list"],
    ),
    "a rate that is no number": (
        choose("data_ratio.json", {"books": "2", "news": 1}),
        ["'2' is no rate", "data_ratio.json: books", "give a number from 1e-15 to 1e15, or 0"],
    ),
    "a negative rate": (
        choose("data_ratio.json", {"books": 1, "news": -1}),
        ["-1 is no rate", "or 0, which leaves it out"],
    ),
    "a language without a probability": (
        choose("lang_prob.json", {"en": 1}),
        ["language 'ar' has no probability", "lang_prob.json", "add its probability"],
    ),
    "a language without shards": (
        choose("lang_prob.json", {"en": 1, "ar": 1, "fr": 1}),
        ["language 'fr' has a probability, but no shard to sample", "remove it"],
    ),
    "a probability of 0": (
        choose("lang_prob.json", {"en": 1, "ar": 0}),
        ["0 is no probability", "from 1e-15 to 1e15"],
    ),
    "an exclude list of another form": (
        choose("exclude_iterator.json", ["en_books_tales_split_0000"]),
        ["not a list to exclude", "exclude_iterator.json"],
    ),
    "an exclude list under another key": (
        choose("exclude_iterator.json", {"exclude": []}),
        ["not a list to exclude", 'write {"exclude_iterator_name": [shard names]}'],
    ),
    "an excluded shard that is not there": (
        choose("exclude_iterator.json", {"exclude_iterator_name": ["en_books_tales_split_0009"]}),
        ["excluded 'en_books_tales_split_0009' matches no shard", "exclude_iterator.json", "correct or remove it"],
    ),
    "a misspelt key of the mixture": (
        set_run("mixture", {"max_epoch": 4}),
        ["unknown key 'max_epoch'", "config/runs/tiny/run.yaml: mixture", "write 'max_epochs'"],
    ),
    "a cap of 0": (
        set_run("mixture", {"max_epochs": 0}),
        ["0 is no value that this key may have", "run.yaml: mixture.max_epochs", "The most often that the training"],
    ),
    "a number in quotes": (
        set_run("mixture", {"max_epochs": "4"}),
        ["'4' is no value that this key may have", "3.0e-3, and no quotes"],
    ),
    "a cap without a corpus": (
        set_run("mixture", {"max_epochs": {"en": {"bokos": 4}}}),
        ["the max_epochs of en.bokos matches no shard", "run.yaml: mixture.max_epochs", "write 'books' for 'bokos'"],
    ),
    "rates twice, in JSON and YAML": (
        lambda project: (project.folder / "config/runs/tiny/data_ratio.yaml").write_text("books: 1\nnews: 1\n"),
        ["there are data_ratio.json and data_ratio.yaml", "config/runs/tiny", "keep the one that you mean"],
    ),
    "no rates": (
        remove("config/runs/tiny/data_ratio.json"),
        ["no such file", "data_ratio.json", "write it, or correct the path"],
    ),
    "rates that are no JSON": (
        lambda project: (project.folder / "config/runs/tiny/data_ratio.json").write_text("{books: 1}"),
        ["no JSON", "data_ratio.json", "correct it at the place named"],
    ),
    "a tensor parallel size that does not divide": (
        set_run("parallel", {"tensor": 3}),
        ["8 attention heads cannot be cut into 3 equal parts", "run.yaml: parallel", "divides 8"],
    ),
    "a pipeline parallel size that does not divide": (
        set_run("parallel", {"pipeline": 4}),
        ["2 layers cannot be cut into 4 equal parts"],
    ),
    "a global batch that cannot be cut": (
        set_training("global_batch_size_sequences", 7),
        ["global_batch_size_sequences 7 is no multiple of 2", "change one of the three"],
    ),
    "sequences over the model's positions": (
        set_training("sequence_length_tokens", 4096),
        ["sequence_length_tokens 4096 is over the model's 512 positions", "shorten the sequences"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configuration_is_a_clear_error(project: Project, case: str) -> None:
    make_wrong, message = WRONG[case]
    make_wrong(project)
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    for part in message:
        assert part in result.stdout
    assert "Traceback" not in result.stdout
    assert not (project.folder / "results").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(project: Project, tokenizer_model) -> None:
    config = project.folder / "small"
    config.mkdir()
    shipped = (project.folder / project.config["checkpoints"]["toy-llama"] / "config.json").read_text()
    (config / "config.json").write_text(shipped.replace('"vocab_size": 400', '"vocab_size": 300'))
    project.config["checkpoints"] = {"toy-llama": "small"}
    project.save()
    result = project.snakemake("--dry-run")
    assert "tokenizer 'toy' has 400 ids, checkpoint 'toy-llama' embeds 300" in result.stdout


@pytest.mark.parametrize(
    ("key", "value", "action"),
    [
        ("model_type", "gemma", 'use a Llama with model_type "llama"'),
        ("attention_bias", True, "use a Llama with attention_bias false"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}, "use default or llama3"),
    ],
)
def test_another_architecture_is_refused(project: Project, key: str, value: object, action: str) -> None:
    folder = project.folder / "other"
    folder.mkdir()
    config = json.loads((project.folder / project.config["checkpoints"]["toy-llama"] / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    project.config["checkpoints"] = {"toy-llama": "other"}
    project.save()
    result = project.snakemake("--dry-run")
    assert result.returncode != 0
    assert "is not known" in result.stdout
    assert action in result.stdout


def test_omissions_may_be_listed_and_choices_be_yaml(project: Project) -> None:
    choices = project.folder / "config" / "runs" / "tiny"
    (choices / "data_ratio.json").unlink()
    (choices / "data_ratio.yaml").write_text("en: {books: 1, bokos: 2}\nar: {news: 1}\n")
    project.run["mixture"] = {"omissions": "list"}
    project.save()
    result = project.snakemake("--dry-run", "--printshellcmds")
    assert result.returncode == 0, result.stdout
    assert "--data-ratio config/runs/tiny/data_ratio.yaml" in result.stdout


@pytest.mark.parametrize("word", ["NA", "null", "nan", "1e5", "007", "None", "true"])
def test_a_corpus_may_be_called_like_no_value(word: str, project: Project) -> None:
    project.corpora([word, word, word, word, word])
    (corpus,) = load_corpora(project.folder / "config" / "corpora.tsv")
    assert [getattr(corpus, column) for column in COLUMNS] == [word] * 5
