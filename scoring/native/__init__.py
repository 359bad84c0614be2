"""MaxSim on int8 codes as they are stored, compiled: exact, and the same bits on every processor.

`kernels/` is C, built with the package where a compiler is at hand; `binding.py` finds and calls
it, `cores.py` says with how many threads.
"""
