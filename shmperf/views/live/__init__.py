"""The live terminal: screens over one look after another, and over what is asked for on the way."""
