"""Data for knowledge mixtures, the runs trained on them, what they show. `python -m knapsack` lists the commands."""
