"""Tokenize jsonl shards to Megatron .bin/.idx pairs: tokenize.py is the pipeline, engines.py encodes."""
