"""What the subject tells about itself while it works: how long things took, and how many there were.

Everything here is a plain array that one worker writes and anybody reads, so that telling costs the worker an addition.
"""
