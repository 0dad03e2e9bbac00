"""Real facts, from tables of them to sources and question sets."""
