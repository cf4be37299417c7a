r"""Take a corpus, vendor files or documents out of all that was made of them. First without --yes: it lists what goes.

    python scripts/withdraw.py --why "the vendor's licence ended" --corpus en_code_python
    python scripts/withdraw.py --why "called back" --files 'vendor/en_code_python/a.jsonl'
    python scripts/withdraw.py --why "a person asked" --documents found.jsonl --yes

found.jsonl is what scripts/find_documents.py printed; --keys takes keys by themselves. Removed are text, tokens, keys
and rejected lines, in shards, tokenized and named pairs, validation sets and run folders. Checkpoints and exports that
were trained on any of it are listed, and stay. results/withdrawals.jsonl says who took what out, when and why. Killed
at any moment, the same command goes on. The vendor's own files are not touched.
"""

import argparse
import datetime
import getpass
import json
from pathlib import Path
from typing import Any

from pretrain_llama import configuration, stores
from pretrain_llama.errors import ConfigError, OperatorError, run_program
from pretrain_llama.files import read_json
from pretrain_llama.shards import plan
from pretrain_llama.shards.planned import Plan
from pretrain_llama.tokenization.keys import KEY_BYTES
from pretrain_llama.tokenization.withdrawn import JOURNAL, parse_keys
from pretrain_llama.withdrawal import scope
from pretrain_llama.withdrawal.carrying_out import carry_out, check_alone, unfinished


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--why", required=True, help="the reason, for the record")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks for it, for the record")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--corpus", help="name of a corpus; it may have left the table")
    what.add_argument("--files", nargs="+", help="vendor files, as the plans have them")
    what.add_argument("--documents", type=Path, help="lines of find_documents.py (JSON)")
    what.add_argument("--keys", nargs="+", type=key, help="keys of documents, of 32 hexadecimal digits")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    parser.add_argument("--yes", action="store_true", help="do it; without this, nothing is changed")
    return parser.parse_args()


def key(text: str) -> str:
    if len(bytes.fromhex(text)) != KEY_BYTES:
        raise ValueError
    return text.lower()


def chosen_files(args: argparse.Namespace) -> dict[str, list[str]]:
    """Return the vendor files that go, by corpus."""
    plans = {path.stem: read_json(path) for path in sorted((args.results / "plan").glob("*.json"))}
    if args.corpus:
        configuration.check_choice(args.corpus, plans, "corpus", f"{args.results}/plan")
        return {args.corpus: list(plans[args.corpus]["files"])}
    found: dict[str, list[str]] = {}
    for path in args.files:
        corpora = [corpus for corpus, planned in plans.items() if path in planned["files"]]
        if not corpora:
            raise ConfigError(
                f"no plan holds {path!r}", where=f"{args.results}/plan", action="name files as the plans do"
            )
        for corpus in corpora:
            found.setdefault(corpus, []).append(path)
    return found


def chosen_keys(args: argparse.Namespace) -> dict[str, list[str]]:
    """Return the keys of the documents that go, by tokenizer."""
    tokenizers = sorted(path.name for path in (args.results / "tokenized").glob("*") if path.is_dir())
    if args.keys:
        return {tokenizer: sorted(set(args.keys)) for tokenizer in tokenizers}
    keys: dict[str, set[str]] = {tokenizer: set() for tokenizer in tokenizers}
    for number, line in enumerate(args.documents.read_text().splitlines(), 1):
        try:
            found = json.loads(line)["keys"]
            unknown = {tokenizer: key(value) for tokenizer, value in found.items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"no line of find_documents.py: {error}",
                where=f"{args.documents}:{number}",
                action="look them up again",
            ) from None
        for tokenizer in tokenizers:
            keys[tokenizer].add(unknown.get(tokenizer, ""))
    if any("" in found for found in keys.values()):
        raise ConfigError(
            "documents without a key of each tokenizer that results hold",
            where=args.documents,
            action="look them up again, with all of these in config.yaml; or remove what is left of the others: "
            "scripts/remove_orphans.py",
        )
    return {tokenizer: sorted(found) for tokenizer, found in keys.items()}


def main() -> None:
    args = parse_args()
    asked = {"corpus": args.corpus, "files": args.files, "keys": args.keys, "why": args.why, "who": args.who}
    asked["documents"] = str(args.documents) if args.documents else None
    check_alone(Path())
    journal = unfinished(args.results)
    if journal and journal["asked"] != asked:
        raise OperatorError(
            f"another withdrawal was interrupted: {journal['asked']}",
            where=args.results / JOURNAL,
            action="type its command again first, with --yes",
        )
    journal = journal or begun(args, asked)
    if not args.yes:
        print("nothing is changed yet: the same command with --yes removes this for good")
        return
    config = configuration.load_config(args.config)
    corpora = {corpus.name: corpus for corpus in configuration.load_corpora(config["corpora"])}

    def replan(name: str, recorded: Plan, files: list[str]) -> Plan:
        configuration.check_choice(name, corpora, "corpus", config["corpora"])
        listing = stores.list_files(corpora[name].source, corpora[name].where)
        known = [file for file in listing if file.path in recorded["files"]]
        return plan.extend(recorded, known, corpora[name], config["shard_size_bytes"], withdrawn=files)

    carry_out(args.results, journal, replan)
    print("done. next: take it out of the vendor's files, or the corpus out of the table, then snakemake --dry-run")


def begun(args: argparse.Namespace, asked: dict[str, Any]) -> dict[str, Any]:
    """Work out what goes, tell it, and return it as it is recorded."""
    keys: dict[str, list[str]] = {}
    if args.corpus or args.files:
        found = scope.of_files(args.results, chosen_files(args))
    else:
        keys = chosen_keys(args)
        found = scope.of_documents(args.results, {tokenizer: parse_keys(set(of)) for tokenizer, of in keys.items()})
    print(*found.told, sep="\n")
    runs = [
        {"run": run.folder.name, "drawn": {str(path): count for path, count in run.drawn.items()}} for run in found.runs
    ]
    return {
        "asked": asked,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "who": args.who,
        "why": args.why,
        "corpora": [args.corpus] if args.corpus else [],
        "files": found.files,
        "keys": keys,
        "shards": sorted({*found.retired, *(shard for _, shard in found.thinned)}),
        "documents": found.documents,
        "tokens": found.tokens,
        "bytes": found.bytes,
        "runs": runs,
        "thinned": found.thinned,
        "deleted": found.deleted,
    }


if __name__ == "__main__":
    run_program(main)
