"""`knapsack capacity`: the bits that a model of each size learns at most."""
