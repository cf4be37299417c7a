"""Compute the selection probability of every shard, from the data signature and a person's choices.

    python scripts/compute_probabilities.py --signature results/tokenized/demo-8k.0a1b2c3d/data_signature.json \
        --data-ratio config/runs/demo/data_ratio.json --language-probability config/runs/demo/lang_prob.json \
        --exclude config/runs/demo/exclude_iterator.json --training-tokens 614400 --output-folder mixture
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import run_program
from pretrain_llama.files import write_json, write_text
from pretrain_llama.mixture import outputs
from pretrain_llama.mixture.probabilities import compute


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signature", type=Path, required=True, help="data_signature.json")
    parser.add_argument("--data-ratio", type=Path, required=True, help="data_ratio.json: rates by domain")
    parser.add_argument("--language-probability", type=Path, required=True, help="lang_prob.json: share by language")
    parser.add_argument("--exclude", type=Path, required=True, help="exclude_iterator.json: shards to leave out")
    parser.add_argument("--training-tokens", type=int, required=True, help="tokens that the whole training draws")
    parser.add_argument(
        "--omissions",
        choices=["error", "list"],
        default="error",
        help="shards without a rate and keys that match nothing: stop, or leave out and list",
    )
    parser.add_argument(
        "--output-folder",
        type=Path,
        required=True,
        help="writes data_path.sh, probabilities.json and probabilities.csv",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    mixture = compute(
        args.signature, args.data_ratio, args.language_probability, args.exclude, args.omissions == "list"
    )
    write_text(args.output_folder / "data_path.sh", outputs.data_path_script(mixture))
    write_json(args.output_folder / "probabilities.json", outputs.json_value(mixture, args.training_tokens))
    write_text(args.output_folder / "probabilities.csv", outputs.csv_text(mixture, args.training_tokens))
    for name, reason in mixture.left_out:
        print(f"left out: {name} ({name.tokens:,} tokens): {reason}")
    for key in mixture.unmatched_keys:
        print(f"unmatched: {key}")
    print(f"{len(mixture.shards)} shards, probabilities sum to {sum(s.probability for s in mixture.shards):.15f}")


if __name__ == "__main__":
    run_program(main)
