"""Token shards, knowledge sources and question sets: writing, reading, checking them (dev/formats.md, 1 to 3)."""
