"""Documents into a store, as a library: read from sources, cut, embedded and written in a run."""
