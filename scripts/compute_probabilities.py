r"""Compute the selection probability of every shard, from a data signature and a person's choices.

    python scripts/compute_probabilities.py --signature results/tokenized/demo-8k.0a1b2c3d/data_signature.json \
        --data-ratio config/runs/demo/data_ratio.json --language-probability config/runs/demo/lang_prob.json \
        --exclude config/runs/demo/exclude_iterator.json --run-config config/runs/demo/run.yaml --output-dir mixture

Needs neither the data nor Snakemake; names of the replaced pipeline are read too. Writes to the output folder:

    iterator_prob.sh      source it: DATA_PATH is Megatron-LM's --data-path
    data_path.txt         the same for --data-args-path
    blend.json            the same for --per-split-data-args-path
    mixture.csv           a row per shard: tokens there and wanted, epochs; also the shards left out, and why
    probabilities.json    the whole mixture, which plot_mixture, compare_mixtures and check_mixture read
"""

import argparse
import re
from pathlib import Path

from pretrain_llama import configuration
from pretrain_llama.arguments import count
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.files import write_json, write_text
from pretrain_llama.mixture import choices, ledger, outputs, signature
from pretrain_llama.mixture.mixture import FILE, TrainingLength
from pretrain_llama.mixture.probabilities import compute
from pretrain_llama.run.sizes import training_sequences


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signature", type=Path, required=True, help="data_signature.json: the names of the shards")
    parser.add_argument("--data-ratio", type=Path, required=True, help="rates by domain (JSON or YAML)")
    parser.add_argument("--language-probability", type=Path, required=True, help="share by language (JSON or YAML)")
    parser.add_argument("--exclude", type=Path, help="shards to leave out (JSON or YAML)")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--run-config", type=Path, help="run.yaml: length of the training, and its section mixture")
    length.add_argument("--total-tokens", type=count, help="tokens that the whole training draws: 500_000_000_000")
    parser.add_argument(
        "--omissions",
        choices=["error", "list"],
        help="shards left without a rate and keys that match nothing: stop, or leave out and list with their tokens;"
        " default: what the run config says, else error",
    )
    parser.add_argument(
        "--bin-idx-path",
        type=folder,
        default="",
        metavar="FOLDER",
        help="of the .bin and .idx files, written before each name in data_path.txt and blend.json",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def folder(text: str) -> str:
    """Return a path that Megatron reads as one word."""
    if re.search(r"\s", text):
        raise ConfigError(
            f"{text!r} holds white space, at which Megatron-LM splits data_path.txt",
            where="--bin-idx-path",
            action="give the files a folder, or a link to theirs, without blanks",
        )
    return text


def main() -> None:
    args = parse_args()
    run = configuration.load_run_file(args.run_config) if args.run_config else {}
    chosen = choices.load(
        args.data_ratio,
        args.language_probability,
        args.exclude,
        args.run_config,
        run.get("mixture"),
        args.omissions,
    )
    length = (
        TrainingLength(training_sequences(run), run["training"]["sequence_length_tokens"])
        if run
        else TrainingLength(args.total_tokens, 1)
    )
    mixture = compute(signature.load(args.signature), chosen, length)
    write_text(args.output_dir / "iterator_prob.sh", outputs.iterator_prob_script(mixture))
    write_text(args.output_dir / "data_path.txt", outputs.data_path_text(mixture, args.bin_idx_path))
    write_json(args.output_dir / "blend.json", outputs.blend(mixture, args.bin_idx_path))
    write_text(args.output_dir / "mixture.csv", outputs.csv_text(mixture))
    write_json(args.output_dir / FILE, mixture.to_json())
    print(ledger.as_text(mixture), end="")


if __name__ == "__main__":
    run_program(main)
