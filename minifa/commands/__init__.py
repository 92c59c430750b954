"""Commands that have a file of their own: in each, ``describe`` adds its options to a parser and ``run`` does it.

`minifa.cli` lists them all.
"""

__all__: list[str] = []
