"""Checks of an Azure subscription before the first job: what is wrong, and what to do about it."""
