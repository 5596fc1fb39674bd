"""Hosts and schedulers that call mdenoise."""
