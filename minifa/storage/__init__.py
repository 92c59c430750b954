"""Files: atomic writes, locks, CSV tables, arrays."""

__all__: list[str] = []
