"""Readers of data sets of facts, one a module; each yields rows."""
