"""
What a person sees: the words of the screen (envs/snakemake_plugins), and what a misspelt target may have meant.
"""

from functools import partial

from pretrain_llama.status import stages

try:
    import snakemake_logger_plugin_stages as screen
except ImportError:  # another environment's Snakemake, with its own screen
    screen = None

PAGES = ("mixture.html", "training.html", "summary.txt", "manifest.json", "output/finished.json", "export/final")


def named_targets():
    """Targets that a person may have meant."""
    without_wildcards = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    return without_wildcards + [f"results/runs/{run}/{page}" for run in PROJECT.runs for page in PAGES]


if screen and workflow.is_main_process and workflow.modifier.is_main_snakefile():
    screen.describe(stages.WORDS, partial(stages.amount, PROJECT.shard_bytes), stages.SPEAKING, named_targets())
