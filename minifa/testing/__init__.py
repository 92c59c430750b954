"""Checks of layers and rules, for the tests, for `minifa doctor` and for layers and rules of your own."""

__all__: list[str] = []
