"""Runs: a table of them, sweeps over grids, the answers that each left."""
