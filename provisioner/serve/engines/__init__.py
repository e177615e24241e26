"""Engines behind one Protocol, and the choice between them."""
