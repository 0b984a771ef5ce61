"""Measures Beastack's layout of processes against the stock one, on one machine, in one run."""
