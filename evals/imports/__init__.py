"""Answers that were recorded elsewhere."""
