"""Our own kernels: whole layers in bf16 or int8 on AVX-512 BF16 and VNNI, int8 products on AVX2.

`kernels/` is C, built with the package where a compiler is at hand; `binding.py` finds and types
it, and `weights.py` writes a checkpoint's weights in the order the kernels read them, once for
every node of a machine. `transformer.py` runs a batch through layers on AVX-512; `linears.py` are
the linear layers on AVX2, of a transformer that is torch's otherwise.
"""
