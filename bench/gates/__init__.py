"""Gates: ratios that must hold on any machine, each taken within one run with the two sides by turns.

The bounds are several times what was measured (the figure stands beside each), so that a noisy neighbour does not fail
them and a change of the order of growth does. `make bench` runs them and keeps the figures.
"""
