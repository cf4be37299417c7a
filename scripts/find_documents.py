r"""Look documents up by key, by vendor file and line, or by a pattern in a field of their JSON; print a line for each.

    python scripts/find_documents.py --field url --pattern '^https?://(www\.)?example\.org/' > found.jsonl
    python scripts/find_documents.py --lines vendor/en_code_python/a.jsonl:12 > found.jsonl
    python scripts/find_documents.py --keys 0123456789abcdef0123456789abcdef

Merged shards are read, or the vendor's files where the merged text was deleted. A line says where a document is, its
key for each tokenizer, and how its text begins. scripts/withdraw.py --documents found.jsonl takes them out.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.shards import plan
from pretrain_llama.tokenization.documents import Rejected, text_of
from pretrain_llama.withdrawal.looking_up import Line, found, lines_of, references


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--keys", nargs="+", type=str.lower, help="keys, of 32 hexadecimal digits")
    what.add_argument("--lines", nargs="+", type=place, help="vendor files and lines, from 1: FILE:LINE")
    what.add_argument("--field", help="key of a text in the document's JSON; nested keys are joined by dots")
    parser.add_argument("--pattern", type=re.compile, help="regular expression that the field's text is searched for")
    parser.add_argument("--corpora", nargs="+", help="names of the corpora to look in; all of the table without this")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    args = parser.parse_args()
    if bool(args.field) != bool(args.pattern):
        parser.error("--field goes with --pattern")
    return args


def place(text: str) -> tuple[str, int]:
    path, _, line = text.rpartition(":")
    return path, int(line)


def matcher(args: argparse.Namespace) -> Callable[[Line, dict[str, str]], bool]:
    """Return what says whether a line is looked for."""
    if args.keys:
        return lambda _, keys: bool(set(args.keys) & set(keys.values()))
    if args.lines:
        return lambda line, _: (line.file, line.number) in args.lines

    def has_pattern(line: Line, _: dict[str, str]) -> bool:
        try:
            return args.pattern.search(text_of(line.content, args.field).decode()) is not None
        except Rejected:
            return False

    return has_pattern


def main() -> None:
    args = parse_args()
    config = configuration.load_config(args.config)
    corpora = {corpus.name: corpus for corpus in configuration.load_corpora(config["corpora"])}
    for name in args.corpora or ():
        configuration.check_choice(name, corpora, "corpus", config["corpora"])
    engines, matches, count = references(args.results), matcher(args), 0
    only = {path for path, _ in args.lines or ()}
    for name in args.corpora or corpora:
        recorded = plan.load(args.results / "plan" / f"{name}.json", corpora[name])
        for line in lines_of(recorded, args.results, only):
            if document := found(line, corpora[name].text_key, engines, matches):
                print(json.dumps(document, ensure_ascii=False))
                count += 1
    if not count:
        raise ConfigError(
            "no document was found",
            where=args.results / "plan",
            action="correct the keys, lines or pattern; the rejected lines are in .rejected.jsonl",
        )


if __name__ == "__main__":
    run_program(main)
