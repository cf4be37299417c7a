"""start.py: what it finds in a folder of vendor files and a model's folder, and the configuration that it writes."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from pretrain_llama import configuration
from pretrain_llama.errors import ConfigError, DataError
from pretrain_llama.start.looking import LeftOut, look_at
from pretrain_llama.start.model import find
from pretrain_llama.start.naming import naming, stem_of
from pretrain_llama.start.sizes import data_sizes, training_sizes
from pretrain_llama.start.table import look
from pretrain_llama.start.writing import write
from project import Project, deliver, jsonl, run_script

NAMES = {
    "en_code_python/part-0.jsonl": "en code python",
    "arabic/news/2024/a.jsonl.gz": "ar news 2024",
    "wiki-ar/dump.parquet": "ar wiki all",
    "stories.jsonl": "und stories all",
    "oscar/de_part_3.ndjson": "de oscar all",
    "pt_BR_web/x.json": "pt-BR web all",
    "zh-hans_books/x.jsonl.zst": "zh-hans books all",
    "Common Crawl/fr/x.jsonl": "fr common crawl",
    "ar/x.jsonl": "ar text all",
    "en-0001.jsonl": "en text all",
    "no_laws/x.jsonl": "no laws all",
    "the_pile/x.jsonl": "und the pile",
    "Ünïcode_weird@name/x.jsonl": "und n-code weird-name",
}


@pytest.mark.parametrize("path", NAMES)
def test_names_come_from_folders_and_files(path: str) -> None:
    *folders, name = path.split("/")
    named = naming(folders, stem_of(name))
    assert f"{named.language} {named.domain} {named.subdomain}" == NAMES[path]
    row = {"language": named.language, "domain": named.domain, "subdomain": named.subdomain}
    configuration.validate(row | {"source": "x", "text_key": "text"}, "corpora", "here")


def documents(**values: object) -> bytes:
    return b"".join(json.dumps(values | {"id": f"{n:012}"}).encode() + b"\n" for n in range(5))


KEYS = {
    "usual": (documents(text="a tale", html="<p>a tale</p>"), "text"),
    "nested": (documents(data={"text": "a tale of the sea", "lang": "en"}), "data.text"),
    "of no usual name": (documents(story="a tale of the sea", url="http://a"), "story"),
    "usual, and next to nothing": (documents(text="-", story="a tale of the sea " * 9), "story"),
    "a line without a newline": (b'{"text": "a tale"}', "text"),
    "a long line": (b'{"text": "%s"}\n' % (b"a tale " * 20_000), "text"),
}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize("case", KEYS)
def test_the_key_of_texts_is_found_by_looking(tmp_path: Path, case: str, ending: str) -> None:
    content, key = KEYS[case]
    found = look_at(deliver(tmp_path / f"a{ending}", content))
    assert found.text_key == key and found.texts[0].startswith(("a tale", "-")) and found.about > 0


LEFT_OUT = {
    "notes.txt": (b"a tale\n", "of a format that is not read"),
    "empty.jsonl": (b"", "empty"),
    "blank.jsonl": (b"\n\n", "blank"),
    "array.json": (b'[{"text": "a"}]\n', "one JSON array"),
    "lines.jsonl": (b"a tale\nanother\n", "no line at its beginning is a JSON object"),
    "numbers.jsonl": (b'{"id": 1, "tags": ["a"]}\n', "no key holds a text in half of its documents; keys: id, tags"),
    "cut.jsonl.gz": (b"\x1f\x8b\x08\x00cut", "a vendor file cannot be read"),
    "none.parquet": (b"PAR1 nothing", "a vendor file cannot be read"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_holds_no_texts_is_left_out_and_says_why(tmp_path: Path, name: str) -> None:
    content, why = LEFT_OUT[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LeftOut, match=why):
        look_at(tmp_path / name)


def test_a_source_matches_the_files_of_its_row_and_no_others(tmp_path: Path) -> None:
    tales = jsonl([f"tale {n}" for n in range(9)])
    for name in ("en_a/1.jsonl", "en_a/2.jsonl", "en_b/1.jsonl", "en_b/2.jsonl.gz", "en_[c]/1.jsonl", "en_c/x.parquet"):
        deliver(tmp_path / name, tales)
    deliver(tmp_path / "en_c" / "1.jsonl", jsonl(["other"], key="story"))
    deliver(tmp_path / "en_c" / "2.jsonl", tales)
    (tmp_path / "en_b" / "README.md").write_text("no tale")
    (tmp_path / ".git").mkdir()
    (tmp_path / "en_a" / "a\tb.jsonl").write_bytes(tales)
    os.mkfifo(tmp_path / "en_a" / "pipe.jsonl")
    looked = look(tmp_path)
    names = [row.naming for row in looked.rows]
    assert len({(name.language, name.domain, name.subdomain) for name in names}) == len(names)
    for row in looked.rows:
        listed = {path.name for path in Path("/").glob(row.source[1:])}
        assert listed == {file.path.name for file in row.files}, row.source
    assert sum(len(row.files) for row in looked.rows) == 8
    assert {"hidden", "a name that no table holds", "of a format that is not read"} < looked.left_out.keys()
    assert "no file, but a pipe, a socket or a device" in looked.left_out


def test_a_folder_without_texts_says_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a tale")
    with pytest.raises(DataError, match=r"no file there holds texts(?s:.*)notes.txt(?s:.*)deliver .jsonl"):
        look(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        look(tmp_path / "nowhere")


def test_a_model_is_found_beside_the_texts_with_its_tokenizer(
    tmp_path: Path, llama: Path, tokenizer_model: Path
) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(ConfigError, match="no model's folder is there"):
        find(tmp_path / "text", None)
    shutil.copytree(llama, tmp_path / "My Llama")
    with pytest.raises(ConfigError, match="no tokenizer is there"):
        find(tmp_path / "text", None)
    (tmp_path / "My Llama" / "tokenizer.model").write_text("aGk= 0\naGk= 1\n")  # tiktoken's
    shutil.copy(tokenizer_model, tmp_path / "tokenizer.model")
    model = find(tmp_path / "text", None)
    assert model.name == "my-llama" and model.architecture and model.tokenizer.prepend_bos
    assert model.settings["model"] == str(tmp_path / "tokenizer.model") and "tiktoken's" in model.notes[0]
    shutil.copytree(llama, tmp_path / "other")
    with pytest.raises(ConfigError, match="several models"):
        find(tmp_path / "text", None)
    alone = find(tmp_path / "text", tmp_path)
    assert alone.architecture is None


def test_the_tokens_around_documents_are_those_of_the_model(tmp_path: Path, llama: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = shutil.copytree(llama, tmp_path / "llama")
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {chr(97 + n): n + 3 for n in range(26)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
    made.add_special_tokens(["<s>", "</s>"])
    made.save(str(folder / "tokenizer.json"))
    by_id = find(tmp_path, folder).settings
    assert (by_id["bos_token"], by_id["eos_token"]) == ("<s>", "</s>"), "ids 1 and 2 of config.json"
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": None, "eos_token": {"content": "</s>"}}))
    assert find(tmp_path, folder).settings["eos_token"] == "</s>"


def test_sizes_are_of_one_pass_over_what_is_there(tmp_path: Path, llama: Path, tokenizer_model: Path) -> None:
    deliver(tmp_path / "text" / "en_a" / "1.jsonl", jsonl(["a tale of the sea " * 50] * 400))
    shutil.copytree(llama, tmp_path / "llama")
    shutil.copy(tokenizer_model, tmp_path / "llama")
    rows, model = look(tmp_path / "text").rows, find(tmp_path / "text", None)
    assert model.architecture
    sizes, on_gpus = (training_sizes(rows, model, model.architecture, gpus) for gpus in (0, 6))
    taken = sizes.iterations * sizes.global_batch * sizes.sequence_length
    assert abs(taken - sizes.tokens) <= sizes.global_batch * sizes.sequence_length / 2
    assert (sizes.precision, sizes.processes, on_gpus.precision, on_gpus.processes) == ("fp32", 1, "bf16", 4)
    assert on_gpus.global_batch % (on_gpus.processes * on_gpus.micro_batch) == 0
    assert data_sizes(rows).held_out_fraction == 0.05


def test_what_stood_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert write(str(path), "a: 1\n") is None and write(str(path), "a: 1\n") is None
    assert write(str(path), "a: 2\n") == str(tmp_path / "config.before-1.yaml")
    assert write(str(path), "a: 3\n") == str(tmp_path / "config.before-2.yaml")
    assert [kept.read_text() for kept in sorted(tmp_path.iterdir())] == ["a: 1\n", "a: 2\n", "a: 3\n"]


def test_what_it_writes_passes_a_dry_run(project: Project, llama: Path, tokenizer_model: Path) -> None:
    shutil.copytree(llama, project.folder / "llama")
    shutil.copy(tokenizer_model, project.folder / "llama")
    result = run_script("start.py", "vendor", cwd=project.folder)
    assert result.returncode == 0, result.stderr
    assert "config/config.yaml; what stood there is config/config.before-1.yaml now" in result.stdout
    config = yaml.safe_load((project.folder / "config" / "config.yaml").read_text())
    assert config["runs"] == ["first"] and config["checkpoints"] == {"llama": "llama"}
    assert [corpus.name for corpus in configuration.load_corpora(project.folder / "config" / "corpora.tsv")] == [
        "ar_news_daily",
        "en_books_tales",
    ]
    run = yaml.safe_load((project.folder / "config" / "runs" / "first" / "run.yaml").read_text())
    assert run["sample"]["prompts"] == ["خبر رقم 0 من", "A tale of 0"]
    again = run_script("start.py", "vendor", cwd=project.folder)
    assert again.returncode == 2 and "there is a run 'first' already" in again.stderr
    shutil.copy(project.folder / "vendor" / "en_books_tales" / "a.jsonl", project.folder / "vendor" / "copy.jsonl")
    copied = run_script("start.py", "vendor", "--run", "second", cwd=project.folder)
    assert copied.returncode == 2 and "one thing is left to do" in copied.stderr and "same text" in copied.stderr
    assert "is no name of a run" in run_script("start.py", "vendor", "--run", "a b", cwd=project.folder).stderr
