"""The proof kit of delivery: kills every part of the running worker, then counts what came out.

    python -m tests.chaos --kills 100 --segments 20000 --seed 1 --out DIR

`schedule` says when what is hurt, `faults` hurts it, `load` publishes segments, `watcher` sees answers come,
`judge` holds what came out against what went in, `report` tells.
"""
