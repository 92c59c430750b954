"""Measurements of speed and memory: ``minifa bench``."""

__all__: list[str] = []
