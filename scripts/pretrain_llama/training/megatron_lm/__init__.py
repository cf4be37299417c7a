"""Train with megatron.training of megatron-core's wheel: trainer.py starts it, hooks.py keeps this project's edges."""
