"""mdenoise under the names and calls of other denoisers."""
