"""A collection's generations: made, published, switched, verified, compacted, erased."""
