"""Faults of a whole fleet: real servers, nodes and collectors, each a host of its own."""
