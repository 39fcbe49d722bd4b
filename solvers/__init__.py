"""Prompts from labelled demonstrations, and where the labels come from."""
