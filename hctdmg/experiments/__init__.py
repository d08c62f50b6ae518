"""Experiments on the synthetic world: what the paper claims, tried. May use the extras of training."""
