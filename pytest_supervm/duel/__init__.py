"""The live duel: the working tree against the merge base with a git ref, both alive at once, measured in turns.

Read `checkout` (where the other side comes from, and how nothing is left behind), `wire` (what parent and children
say to each other), `child` (a pytest that measures on command) and `match` (the parent: pairs of children, turns,
looks). What the figures mean is decided in `judge.live`.
"""
