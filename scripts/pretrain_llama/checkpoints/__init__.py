"""Convert, verify and describe checkpoints of Hugging Face and Megatron: conversion.py, mapping.py, passport.py."""
