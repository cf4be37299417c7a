r"""Join .bin/.idx pairs of one tokenizer into one shard, so that a training opens fewer files and starts faster.

    python scripts/join_indexed.py --shard en_web_joined_split_0000 --output-dir joined/demo-8k.0a1b2c3d \
        results/indexed/demo-8k.0a1b2c3d/en_web_*.bin

The result carries its counts in its name, as every shard does; docs/mixture.md says how to train on it. The tokenizer's
identity is kept where the output folder has its name.
"""

import argparse
from pathlib import Path

from pretrain_llama.errors import DataError, run_program
from pretrain_llama.mixture.signature import check_one_tokenizer, tokenizer_of
from pretrain_llama.names import PREFIX_SUFFIX, CountedName, ShardName, parse_counted, parse_shard
from pretrain_llama.tokenization.indexed import IndexedReader, prefix_of
from pretrain_llama.tokenization.joining import join, joined_counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=prefix_of, nargs="+", help="pairs, in order: PREFIX, PREFIX.bin or PREFIX.idx")
    parser.add_argument("--shard", required=True, help="name of the joined shard, as en_web_joined_split_0000")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to write the joined pair to")
    return parser.parse_args()


def each_once(prefixes: list[Path]) -> list[Path]:
    """Return the prefixes of pairs, each once, whether given from here or from the root."""
    return list(dict.fromkeys(prefix.parent.resolve() / prefix.name for prefix in prefixes))


def check_not_twice(prefixes: list[Path]) -> None:
    """Raise DataError if two pairs are the same shard: under two counts, or in two folders."""
    known: dict[str, Path] = {}
    for prefix in prefixes:
        shard, is_named, _ = prefix.name.partition(PREFIX_SUFFIX)
        if is_named and shard in known:
            raise DataError(
                f"{shard} is given twice, as {prefix.name} and as {known[shard].name}",
                where=f"{prefix.parent} and {known[shard].parent}",
                action="leave out the stale one, made by an earlier tokenizer or from other text",
            )
        known[shard] = prefix


def check_names(prefixes: list[Path], shard: ShardName) -> None:
    """Raise DataError if a counted pair is of another language or domain than the shard, or not as its name says."""
    for prefix in prefixes:
        if "_tc=" not in prefix.name:
            continue
        counted = parse_counted(prefix.name)
        own = counted.shard
        if (own.language, own.domain) != (shard.language, shard.domain):
            raise DataError(
                f"{own} is of {own.language} {own.domain}, the joined shard of {shard.language} {shard.domain}",
                where=prefix,
                action="join the shards of one domain: rates and probabilities go by language and domain",
            )
        found = IndexedReader(prefix).counts
        if found != counted.counts:
            raise DataError(
                f"{prefix.name} holds {found}",
                where=prefix,
                action="tokenize this shard again; its name or its files were changed",
            )


def main() -> None:
    args = parse_args()
    prefixes = each_once(args.pairs)
    shard = parse_shard(args.shard)
    check_one_tokenizer({tokenizer_of(str(prefix)) for prefix in prefixes}, args.output_dir)
    check_not_twice(prefixes)
    check_names(prefixes, shard)
    counts = joined_counts(prefixes)
    name = CountedName(shard, counts.documents, counts.sequences, counts.tokens)
    join(prefixes, args.output_dir / str(name))
    print(f"{len(prefixes):,} pairs joined: {args.output_dir / str(name)}")


if __name__ == "__main__":
    run_program(main)
