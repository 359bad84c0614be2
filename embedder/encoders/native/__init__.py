"""Our own kernels for processors with AVX-512 BF16 and VNNI: a layer in bf16 or int8.

`kernels/` is C, built with the package where a compiler is at hand; `binding.py` finds and types
it, `weights.py` writes a checkpoint's weights in the order the kernels read them, once for every
node of a machine, and `transformer.py` runs a batch through them.
"""
