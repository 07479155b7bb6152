"""Training steps of the methods that LSSL is compared with, one file a method; their networks are in
`models/baselines`."""
