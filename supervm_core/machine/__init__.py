"""The machine that work runs on: where its cores and memory are, and whether work on it gets anywhere.

Nothing here knows transactions: the rooms above hand in functions and numbers.
"""
