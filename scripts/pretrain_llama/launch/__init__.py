"""Start a run: here (local.py), on Slurm (slurm_*.py), on AzureML (azureml_*.py), by Megatron-LM (megatron_lm.py)."""
