"""The page's server: who may ask, what is asked and done, the events that all tabs follow."""
