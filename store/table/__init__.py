"""The truth: one row a chunk, in Lance."""

import os

# Lance writes past our logs what it warns of, such as a compaction that a write overtook.
os.environ.setdefault("LANCE_LOG", "error")
