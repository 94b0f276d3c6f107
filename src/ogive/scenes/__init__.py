"""Which scenes there are, how they saw the ground, and their bands on a grid."""
