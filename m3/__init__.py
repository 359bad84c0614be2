"""The vocabulary every room shares: values, codec, errors, settings. No I/O."""
