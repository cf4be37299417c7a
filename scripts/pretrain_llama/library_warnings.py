"""Hide warnings of libraries that no user of this project can act on; all others pass.

Import it before the libraries; it imports none of them.
"""

import logging
import warnings

# By logger, how messages begin.
LOGGED = {
    # The CPU is taken then. Where a driver is there, and torch cannot use it, torch warns of that, too.
    "torch.utils.cpp_extension": "No CUDA runtime is found",
    # Choices of ours: docs/decisions/training.md, megatron-core.
    "megatron.core.models.gpt.gpt_model": "GPTModel IS DEPRECATED",
    "megatron.core.dist_checkpointing.strategies.torch": "MCore's async save is deprecated",
    # Of checkpoints of megatron-core before 0.17, and of converted ones.
    "megatron.core.dist_checkpointing.strategies.common": "load_common is deprecated",
}


class _Beginning(logging.Filter):
    """A filter that drops the records whose message begins with a text."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self._beginning)


for _name, _message in LOGGED.items():
    logging.getLogger(_name).addFilter(_Beginning(_message))

# That Apex and Transformer Engine are absent is how we run.
warnings.filterwarnings("ignore", message=".*(Apex|Transformer Engine).*not installed")
# What torch and Python are about to deprecate in megatron-core, and models of it that we do not build, are its authors'
# matter.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"(megatron|torch|pretrain_llama\.training\.cpu)")
warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*\bmegatron\b")  # of a file being compiled
warnings.filterwarnings("ignore", message="MimoModelConfig is experimental")
warnings.filterwarnings("ignore", message="full scope is deprecated")
warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf Tensor")
# megatron-core loads with no_dist=True, each process what it needs, and in an order of arguments of its own.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
warnings.filterwarnings("ignore", message="The argument order of load has been changed")
