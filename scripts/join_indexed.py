"""Join .bin/.idx pairs of one tokenizer into one shard, so that a training opens fewer files and starts faster.

    python scripts/join_indexed.py --shard en_web_joined_split_0000 --output-dir joined/demo-8k.0a1b2c3d \
        results/indexed/demo-8k.0a1b2c3d/en_web_*.bin

The result carries its counts in its name, as every shard does; docs/mixture.md says how to train on it. The tokenizer's
identity is kept where the output folder has its name.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import DataError, run_program
from pretrain_llama.mixture.signature import check_one_tokenizer, tokenizer_of
from pretrain_llama.names import CountedName, ShardName, parse_counted, parse_shard
from pretrain_llama.tokenization.joining import join, joined_counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", help="pairs, in order: PREFIX, PREFIX.bin or PREFIX.idx")
    parser.add_argument("--shard", required=True, help="name of the joined shard, as en_web_joined_split_0000")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write the joined pair to")
    return parser.parse_args()


def check_corpora(prefixes: list[Path], shard: ShardName) -> None:
    """Raise DataError if a counted pair is of another language or domain than the shard: rates go by them."""
    for prefix in prefixes:
        if "_tc=" not in prefix.name:
            continue
        own = parse_counted(prefix.name).shard
        if (own.language, own.domain) != (shard.language, shard.domain):
            raise DataError(
                f"{own} is of {own.language} {own.domain}, the joined shard of {shard.language} {shard.domain}",
                where=prefix,
                action="join the shards of one domain: rates and probabilities go by language and domain",
            )


def main() -> None:
    args = parse_args()
    suffixed = (path.with_suffix("") if path.suffix in (".bin", ".idx") else path for path in args.pairs)
    prefixes = list(dict.fromkeys(suffixed))
    shard = parse_shard(args.shard)
    check_one_tokenizer({tokenizer_of(str(prefix.absolute())) for prefix in prefixes}, args.output_dir)
    check_corpora(prefixes, shard)
    counts = joined_counts(prefixes)
    name = CountedName(shard, counts.documents, counts.sequences, counts.tokens)
    join(prefixes, args.output_dir / str(name))
    print(f"{len(prefixes):,} pairs joined: {args.output_dir / str(name)}")


if __name__ == "__main__":
    run_program(main)
