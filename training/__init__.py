"""Training, evaluation and analysis of the network; needs `pip install "mdenoise[train]"`."""
