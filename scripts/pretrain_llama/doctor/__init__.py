"""Check an Azure subscription before the first job, and say what to do: batch.py, storage.py, variables.py, …"""
