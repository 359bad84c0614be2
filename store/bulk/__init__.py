"""A first load past the upserts: rows as Parquet files, read back, and imported by the server."""
