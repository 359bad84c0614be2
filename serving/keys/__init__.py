"""Who calls: keys, what each may do, for which tenant, and how often."""
