"""The protocol of BGE-M3's paper (arXiv 2402.03216) on the files its data sets publish.

MIRACL, MKQA and MLDR as their authors publish them, with the lengths, depths and weights of the
paper's scripts, and its numbers beside ours. docs/recipes.md says how to run them.
"""
