"""Reading a collection: candidates and rows, from one snapshot."""
