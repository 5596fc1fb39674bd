"""Trained weights to the graphs that engines run, and the checks that they agree."""
