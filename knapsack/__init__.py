"""Data for knowledge mixtures, the runs trained on them, and what they show. `python -m knapsack` lists the commands."""
