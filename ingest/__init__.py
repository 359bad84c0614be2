"""Documents into a store, as a library: sources, chunking, the pipeline between them."""
