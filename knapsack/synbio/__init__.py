"""Synthetic biographies (SynBio-N): who there is, how facts read, their tokens."""
