"""What people see of a run: the terminal section, the HTML page, and the files that hold them.

Every form of report says the same things in the same words, so what is said stands once, in `wording`; the other
modules only lay it out. Nothing here measures, judges or decides: a report shows a `model.Results` as it is.
"""
