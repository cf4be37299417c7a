"""Continue pretraining on megatron-core: loop.py is the loop, step.py a step; data/ feeds it, logging/ records it."""

import pretrain_llama.library_warnings  # noqa: F401
