"""Work on several cores: threads and chunks of a batch."""

__all__: list[str] = []
