"""Count the evaluations of a training, and the sequences that they read.

By default all evaluations of a training together read at most SHARE of the sequences that it trains on: a pass without
gradients costs a third of one with them, so they take about 3 % of the time.
"""

from pathlib import Path

from pretrain_llama.run.folder import has_targets
from pretrain_llama.settings import RunSettings
from pretrain_llama.tokenization.indexed import read_counts

SHARE = 0.1
LEAST, MOST = 8, 256  # sequences of a set, where run.yaml says nothing
MARKER = "evaluating.json"  # in output/ while an evaluation goes on


def evaluations(run: RunSettings) -> int:
    """Return how often a training evaluates: before its first step, now and then, and at the end."""
    return 1 + -(-run["training"]["iterations"] // run["operation"]["evaluate_every_iterations"])


def most_sequences(run: RunSettings, sets: int) -> int:
    """Return how many sequences of each validation set are evaluated, of sets that have them; sets: how many."""
    if asked := run["operation"]["evaluation_sequences"]:
        return asked
    training = run["training"]
    trained = training["iterations"] * training["global_batch_size_sequences"]
    return min(MOST, max(LEAST, int(SHARE * trained / evaluations(run) / max(1, sets))))


def evaluated_sequences(validation: Path, run: RunSettings) -> dict[str, int]:
    """Return how many sequences of each validation set one evaluation reads.

    Args:
        validation: folder of the sets.
        run: run.yaml.
    """
    length = run["training"]["sequence_length_tokens"]
    prefixes = [path.with_suffix("") for path in sorted(validation.glob("*.idx"))]
    sets = {prefix.name: read_counts(prefix).tokens for prefix in prefixes if has_targets(prefix)}
    most = most_sequences(run, len(sets))
    return {name: min(most, -(-(tokens - 1) // length)) for name, tokens in sets.items()}
