"""What a seed may be."""

MOST_SEED = 2**31 - 1
"""The libraries take whole numbers below 2**32, and some steps use the next seeds, too."""
