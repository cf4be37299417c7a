"""Estimate what a training takes (run.py, memory.py, flops.py), and what a plan takes (plan_cost.py, tasks.py)."""
