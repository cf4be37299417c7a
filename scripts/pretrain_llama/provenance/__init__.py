"""Write a run folder (writing.py), verify it (integrity.py), and guard one whose training has begun (begun.py)."""
