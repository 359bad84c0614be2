"""A checkpoint on disk: found, checked, fingerprinted, tokenised."""
