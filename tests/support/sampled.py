"""Trainings that sample: prompts in run.yaml, and what stands around documents in the manifest, as receipts tell it."""

from pretrain_llama.files import read_json, write_json
from trainings import Training

BOS, EOS = 1, 2
PROMPTS, NEW_TOKENS = ["The import", "A class"], 8


def sample(training: Training) -> None:
    """Have a training sample."""
    training.change(sample={"prompts": PROMPTS, "new_tokens": NEW_TOKENS})
    manifest = training.folder / "manifest.json"
    frame = {"bos": {"id": BOS, "token": "<s>"}, "eos": {"id": EOS, "token": "</s>"}}
    write_json(manifest, read_json(manifest) | {"frame": frame})
