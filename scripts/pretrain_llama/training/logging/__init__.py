"""Record a training: lines of JSON (logs.py), TensorBoard (board.py), MLflow and Weights & Biases (trackers.py)."""
