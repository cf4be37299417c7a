"""Counted shards to selection probabilities."""
