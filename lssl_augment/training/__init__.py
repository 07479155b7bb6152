"""Training: losses (one function an equation), objectives, the loop, checkpoints, run folders."""
