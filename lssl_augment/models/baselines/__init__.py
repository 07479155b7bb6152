"""Networks of the methods that LSSL is compared with, one file a method; what trains them is in
`evaluation/baselines`."""
