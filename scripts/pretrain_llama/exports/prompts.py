"""Encode prompts for an exported model so that they begin as the documents of its training did."""

from collections.abc import Iterable
from pathlib import Path

from pretrain_llama.errors import ConfigError
from pretrain_llama.tokenization.engines import Reference
from pretrain_llama.tokenization.frame import frame_of
from pretrain_llama.tokenization.texts import Texts
from pretrain_llama.tokenization.tokenizer import Tokenizer


def prompt_ids(prompt: str, reference: Reference, head: list[int], where: str | Path) -> list[int]:
    """Return the ids of a prompt.

    Args:
        prompt: its text.
        reference: of the run's tokenizer.
        head: ids before the run's documents.
        where: the prompt stands, for the message.

    Raises:
        ConfigError: there is nothing to continue.
    """
    ids, _ = reference.encode(Texts.of([prompt.encode()]))
    if not len(ids) and not head:
        raise ConfigError(
            f"the prompt {prompt!r} has no token, and documents of the run begin without BOS",
            where=where,
            action="give another in sample.prompts",
        )
    return [*head, *ids.tolist()]


def check_prompts(prompts: Iterable[str], tokenizer: Tokenizer, where: str) -> None:
    """Check the prompts of a run before it is trained; raises as `prompt_ids` does."""
    head = frame_of(tokenizer.reference, tokenizer.prepend_bos, tokenizer.append_eos).head
    for prompt in prompts:
        prompt_ids(prompt, tokenizer.reference, head, where)
