"""Where landmarks come from: one small interface, and what implements it."""
