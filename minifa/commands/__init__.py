"""Commands in separate modules: in each, ``describe`` adds the options to a parser and ``run`` runs the command.

`minifa.cli` lists all commands.
"""

__all__: list[str] = []
