"""What can be said of searches that nobody has judged."""
