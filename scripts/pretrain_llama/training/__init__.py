"""Continued pretraining on megatron-core."""

import warnings

# That Apex and Transformer Engine are absent is how we run; what torch is about to deprecate is megatron-core's matter.
warnings.filterwarnings("ignore", message=".*(Apex|Transformer Engine).*not installed")
warnings.filterwarnings("ignore", category=FutureWarning, module=r"(megatron|torch|pretrain_llama\.training\.cpu)")
warnings.filterwarnings("ignore", message="full scope is deprecated")
