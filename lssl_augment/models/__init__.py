"""Networks, their weights and the inference engine; import what is needed from the submodules."""
