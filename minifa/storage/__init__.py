"""Files that are whole or not there: atomic writes, locks, rows of CSV tables, arrays."""

__all__: list[str] = []
