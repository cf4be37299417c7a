"""What many tests need: a small tokenizer, a tiny Llama, a project."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from project import ROOT, Project, train_tokenizer
from trainings import Training, kill_all, make_training

pytest_plugins = ["azure_emulator.fixtures"]


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model made as Llama-2's is: BPE with byte fallback; 400 pieces."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    return train_tokenizer(path, normalization_rule_name="identity", remove_extra_whitespaces=False)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Hugging Face Llama of 400 ids, with grouped-query attention."""
    folder = tmp_path_factory.mktemp("huggingface") / "llama"
    sizes = ["--vocab-size", "400", "--hidden-size", "64", "--layers", "2"]
    program = str(ROOT / "demo" / "make_llama.py")
    subprocess.run([sys.executable, program, *sizes, "--output", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny Llama of the test's own, of 300 ids, whose weights all matter."""
    from llamas import make_llama  # transformers takes seconds to import

    return make_llama(tmp_path / "source")


@pytest.fixture
def project(tmp_path: Path, tokenizer_model: Path, llama: Path) -> Project:
    """A project of the test's own, with nothing built."""
    return Project(tmp_path, tokenizer_model, llama)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path, llama: Path) -> Project:
    """A project built to the end, shared: tests only read it."""
    project = Project(tmp_path_factory.mktemp("built"), tokenizer_model, llama)
    result = project.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return project


@pytest.fixture
def copy(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project, to be changed."""
    return built.copied_to(tmp_path / "copy")


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Kill the trainings that a failed test left behind."""
    yield
    kill_all()


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory, tokenizer_model: Path, llama: Path) -> Training:
    """A training of 8 iterations, done: tests only read it, or copy its run folder."""
    topic = list(topics.values())
    texts = {
        "en_books_tales_split_0000": topic[:20],
        "en_books_tales_split_0001": topic[20:40],
        "ar_news_daily_split_0000": topic[40:46],
    }
    validation = {"en_books": topic[46:48], "ar_news": ["A short one."]}
    made = make_training(tmp_path_factory.mktemp("training") / "run", tokenizer_model, llama, texts, validation)
    made.train()
    return made


# What takes seconds to build, or starts Snakemake.
SLOW = {"built", "copy", "project", "training", "local"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that build nothing: what fails there fails in the first minute."""
    slow = {item.path for item in items if SLOW & set(getattr(item, "fixturenames", ()))}
    items.sort(key=lambda item: item.path in slow)
