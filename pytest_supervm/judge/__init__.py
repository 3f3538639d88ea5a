"""How numbers become a verdict. Pure functions on plain values: no files, no pytest, no clock.

Read `estimate` (an effect and its standard error), then `family` (intervals for all pairs together), `verdict` (one
interval against one threshold), `coverage` (what should have been measured and was not), `stored` (all of these over a
run and its kept history) and `gate` (the whole suite). `policy` reads the thresholds that people write.
"""
