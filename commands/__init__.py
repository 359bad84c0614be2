"""m3-embedder, m3-ingest, m3-search: arguments, wiring, printing. The composition root."""
