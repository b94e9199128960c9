"""What ``import minikern`` offers: boots, comparisons and fits, to be read in Python and in notebooks.

The names in ``minikern.__all__`` and their public attributes stay as they are within a version's first two numbers;
everything below ``minikern.lab`` and the kernel's rooms may change at any time.
"""
