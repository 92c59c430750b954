"""The explorer: one training step as a film, short training runs, and where feedback fails, on one page."""

__all__: list[str] = []
