"""How a number is obtained.

Read `clock` (what a second is here), `blocks` (repeat until the clock is fine enough), `quantiles` (latency, and when
there is too little of it), `resources` (memory, garbage collector), `observers` (what would falsify a measurement),
then `instrument`, which puts them together for one case. `provenance` says where and from what a run was measured.
"""
