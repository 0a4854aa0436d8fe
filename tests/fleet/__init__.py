"""Tests of the fleet: real servers, real processes."""
