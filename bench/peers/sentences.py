"""sentence-transformers in its own Python: `python sentences.py MODEL TOKENS`.

Reads lists of texts as JSON lines, answers each with how many vectors it computed. Nothing of this
repository is imported.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    model, tokens = sys.argv[1], int(sys.argv[2])
    # Libraries print; the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from sentence_transformers import SentenceTransformer

    encoder: Any = SentenceTransformer(model, device="cpu", local_files_only=True)
    encoder.max_seq_length = tokens
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        vectors = encoder.encode(json.loads(line), show_progress_bar=False)
        print(json.dumps({"vectors": len(vectors)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
