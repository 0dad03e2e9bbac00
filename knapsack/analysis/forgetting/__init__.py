"""When facts are learned and forgotten."""
