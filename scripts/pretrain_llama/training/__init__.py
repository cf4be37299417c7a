"""Continued pretraining on megatron-core."""
