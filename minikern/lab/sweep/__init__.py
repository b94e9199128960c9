"""Many boots at once: a plan is a product of machines, kernels, variants, words, parameters and drawn costs."""
