"""Studies: declared in a file, planned, run, reported next to what was predicted."""
