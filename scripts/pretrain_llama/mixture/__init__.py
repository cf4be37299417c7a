"""Compute selection probabilities from counted shards: choices.py, probabilities.py; preflight.py checks them."""
