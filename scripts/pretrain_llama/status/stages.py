"""Say what each rule is for, and how much a job of it takes."""

from collections.abc import Mapping
from pathlib import Path

from pretrain_llama.configuration import load_run
from pretrain_llama.run.account import read_account

WORDS = {
    "merge_shard": "join vendor files to even shards",
    "copy_tokenizer": "keep the tokenizer's model",
    "certify_tokenizer": "find out where the fast engine is right",
    "export_tokenizer": "write the tokenizer for transformers",
    "tokenize_shard": "turn documents into .bin/.idx",
    "key_documents": "know documents by their text",
    "sign_data": "sign the counts of all shards",
    "check_conservation": "follow every document",
    "find_duplicates": "find documents of equal text",
    "plot_documents": "write documents.html",
    "name_indexed": "name the pairs by their counts",
    "join_held_out": "join validation sets",
    "check_held_out": "compare them with the training's text",
    "compute_probabilities": "turn rates into probabilities",
    "check_mixture": "have megatron-core build the blend",
    "plot_mixture": "write mixture.html",
    "convert_checkpoint": "convert weights to Megatron",
    "verify_checkpoint": "compare weights and logits",
    "expand_vocabulary": "enlarge the tokenizer",
    "plot_fertility": "plot tokens a word",
    "expand_checkpoint": "add rows for new ids",
    "check_change": "look at what changes in a begun run",
    "write_run_folder": "write all that the training needs",
    "launch_training": "train, or resume",
    "submit_training": "submit the training, and wait",
    "export_checkpoint": "export to Hugging Face",
    "sample_text": "let the model continue prompts",
    "summarize_run": "sum up documents, tokens, losses",
    "plot_training": "write training.html",
}
SPEAKING = ("launch_training", "submit_training", "export_tokenizer", "export_checkpoint")  # they print to the screen
OF_BYTES = ("merge_shard", "tokenize_shard")
TRAINING = ("launch_training", "submit_training")


def amount(shard_bytes: Mapping[str, int], rule: str, wildcards: Mapping[str, str]) -> tuple[int, str] | None:
    """Return how much a job takes, and of what; None where that is not known.

    Args:
        shard_bytes: bytes of jsonl of each planned shard.
        rule: of the job.
        wildcards: of the job.
    """
    if rule in OF_BYTES and wildcards["shard"] in shard_bytes:
        return shard_bytes[wildcards["shard"]], "B"
    if rule == "name_indexed":
        return int(wildcards["dc"]), "documents"
    if rule in TRAINING:
        folder = Path("results", "runs", wildcards["run"])
        account = read_account(folder if folder.exists() else None, load_run(Path("config", "runs", wildcards["run"])))
        return account.trained_at_end - account.trained, "tokens"
    return None
