"""Stand in for a program of scripts/, under its name: note the command line, write the smallest outputs that add up.

simulate_shards.py links it into a project in place of each program that would touch text, weights or a GPU. A shard is
a document of TOKENS tokens to train on and one held out, whatever it was planned from; `pair.bin` and `pair.idx` there
are that document.
"""

import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pretrain_llama.files import read_json, write_text
from pretrain_llama.names import HELD_OUT_SUFFIX, PREFIX_SUFFIX, parse_shard
from pretrain_llama.receipts import MergedRange, MergeReceipt, Receipt, TokenizeReceipt
from pretrain_llama.tokenization.certificate import Certificate
from pretrain_llama.tokenization.keys import KEYS_SUFFIX

COMMANDS = Path("commands.tsv")
PAIR = Path("pair")
TOKENS = 300  # more than a sequence of the demo's run
VERSION = "recorder"


def merge_shard(args: dict[str, str]) -> None:
    planned = read_json(args["plan"])["shards"][int(parse_shard(args["shard"]).split_id)]
    write_merged(args["shard"], planned, Path(args["output"]), Path(args["receipt"]))


def write_merged(shard: str, planned: dict, output: Path, receipt: Path) -> None:
    """Write an empty shard, and a receipt of all the bytes that were planned for it, with two lines."""
    ranges = [MergedRange(**part, bytes=part["stop"] - part["start"]) for part in planned["ranges"]]
    ranges[0].lines = 2
    output.touch()
    write_receipt(MergeReceipt(shard, VERSION, ranges, lines=2, bytes=planned["bytes"]), receipt)


def certify_tokenizer(args: dict[str, str]) -> None:
    Certificate(args["tokenizer"], VERSION, "", {}, VERSION, VERSION).write(args["output"])


def tokenize_shard(args: dict[str, str]) -> None:
    write_tokenized(args["shard"], args["tokenizer"], args["output-prefix"])


def write_tokenized(shard: str, tokenizer: str, prefix: str) -> None:
    """Write pairs of one document, to train on and held out, the receipt, and an empty quarantine."""
    for suffix in (PREFIX_SUFFIX, HELD_OUT_SUFFIX):
        write_pair(str(PAIR), str(Path(prefix).with_name(f"{shard}{suffix}")))
        Path(prefix).with_name(f"{shard}{suffix}{KEYS_SUFFIX}").write_bytes(bytes(16))
    Path(f"{prefix}.rejected.jsonl").touch()
    counts = {"lines": 2, "documents": 1, "sequences": 1, "tokens": TOKENS}
    counts |= {"held_out_documents": 1, "held_out_tokens": TOKENS}
    read = read_json(f"results/shards/{shard}.receipt.json")["bytes"]
    receipt = TokenizeReceipt(shard, VERSION, tokenizer, True, True, 8000, "uint16", **counts, jsonl_bytes=read)
    write_receipt(receipt, Path(f"{prefix}.receipt.json"))


def write_receipt(receipt: Receipt, path: Path) -> None:
    """Write a receipt that adds up as it stands: a rename, and what it cleans up, would be measured as Snakemake's."""
    assert receipt.adds_up(), receipt
    path.write_text(json.dumps(asdict(receipt)))


def name_indexed(args: dict[str, str]) -> None:
    write_pair(args["prefix"], args["output-prefix"])


def write_pair(prefix: str, output_prefix: str) -> None:
    """Copy a pair."""
    for suffix in (".bin", ".idx"):
        Path(f"{output_prefix}{suffix}").write_bytes(Path(f"{prefix}{suffix}").read_bytes())


def join_held_out(args: dict[str, str]) -> None:
    write_pair(str(PAIR), args["output-prefix"])


def make_folder(args: dict[str, str]) -> None:
    Path(args["output"]).mkdir(parents=True)


def write_output(args: dict[str, str]) -> None:
    write_text(args["output"], "")


def print_nothing(args: dict[str, str]) -> None:
    """Snakemake keeps what such a program prints."""


def write_run_folder(args: dict[str, str]) -> None:
    write_text(Path(args["output"]) / "manifest.json", "{}")


def launch_training(args: dict[str, str]) -> None:
    write_text(Path(args["folder"]) / "output" / "finished.json", "{}")


def summarize_run(args: dict[str, str]) -> None:
    for name in ("summary.txt", "summary.json"):
        write_text(Path(args["run-folder"]) / name, "")


PROGRAMS: dict[str, Callable[[dict[str, str]], None]] = {
    "merge_shard": merge_shard,
    "certify_tokenizer": certify_tokenizer,
    "tokenize_shard": tokenize_shard,
    "name_indexed": name_indexed,
    "join_held_out": join_held_out,
    "check_held_out": print_nothing,
    "convert_checkpoint": make_folder,
    "verify_checkpoint": write_output,
    "export_tokenizer": make_folder,
    "export_checkpoint": make_folder,
    "sample_text": write_output,
    "find_duplicates": write_output,
    "plot_documents": write_output,
    "plot_mixture": write_output,
    "check_mixture": write_output,
    "check_change": print_nothing,
    "write_run_folder": write_run_folder,
    "launch_training": launch_training,
    "summarize_run": summarize_run,
    "plot_training": write_output,
}


def options(words: list[str]) -> dict[str, str]:
    """Return the options of a command line by name; a word that belongs to none is the folder."""
    found, left = {}, deque(words)
    while left:
        word = left.popleft()
        if not word.startswith("--"):
            found["folder"] = word
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals and left and not left[0].startswith("--"):  # an option may have no value
            value = left.popleft()
        found[name] = value
    return found


def main() -> None:
    program = Path(sys.argv[0]).stem
    with open(COMMANDS, "ab", buffering=0) as file:
        file.write("\t".join([program, *sys.argv[1:]]).encode() + b"\n")
    PROGRAMS[program](options(sys.argv[1:]))


if __name__ == "__main__":
    main()
