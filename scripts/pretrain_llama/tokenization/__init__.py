"""Jsonl shards to Megatron .bin/.idx pairs."""
