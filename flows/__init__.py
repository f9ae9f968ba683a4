"""Prefect flows: when, where, and what becomes of the result."""
