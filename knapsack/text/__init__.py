"""Documents in, token shards out; tokenizers; where a text has a phrase."""
