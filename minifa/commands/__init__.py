"""Commands of the command line that have a file of their own: in each, ``describe`` adds its options, ``run`` does it.

`minifa.cli` lists them all.
"""
