"""Between requests and the encoder: a queue counted in tokens, and the processes that compute."""
