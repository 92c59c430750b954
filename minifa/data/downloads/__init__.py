"""Downloads of data sets: their sources, HTTP, archives, checksums."""

__all__: list[str] = []
