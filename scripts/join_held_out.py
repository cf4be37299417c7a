r"""Join the held-out documents of all shards of a language and domain into one validation set.

    python scripts/join_held_out.py --signature results/tokenized/demo-8k.0a1b2c3d/data_signature.json \
        --tokenized results/tokenized/demo-8k.0a1b2c3d --language en --domain code \
        --output-prefix results/validation/demo-8k.0a1b2c3d/en_code
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretrain_llama import stores
from pretrain_llama.errors import ConfigError, run_program
from pretrain_llama.mixture import signature
from pretrain_llama.names import HELD_OUT_SUFFIX
from pretrain_llama.tokenization.joining import join

FETCHED_AT_ONCE = 16


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signature", type=Path, required=True, help="data_signature.json: the names of the shards")
    parser.add_argument("--tokenized", required=True, help="folder of what is held out, or its place in a store")
    parser.add_argument("--language", required=True, help="of the shards")
    parser.add_argument("--domain", required=True, help="of the shards")
    parser.add_argument("--output-prefix", type=Path, required=True, help="writes PREFIX.bin and PREFIX.idx")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    shards = [counted.shard for counted in signature.load(args.signature).shards]
    own = [shard for shard in shards if (shard.language, shard.domain) == (args.language, args.domain)]
    if not own:
        there = sorted({f"{shard.language} {shard.domain}" for shard in shards})
        raise ConfigError(
            f"no shard is of language {args.language!r} and domain {args.domain!r}",
            where=args.signature,
            action=f"give --language and --domain of its shards: {', '.join(there)}",
        )
    locations = [f"{args.tokenized}/{shard}{HELD_OUT_SUFFIX}{suffix}" for shard in own for suffix in (".bin", ".idx")]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
        files = list(threads.map(lambda location: stores.local_copy(location, Path(scratch)), locations))
        join([path.with_suffix("") for path in files[::2]], args.output_prefix)


if __name__ == "__main__":
    run_program(main)
