"""Glacier outlines: where the ice is, how sure that is, and which glacier it belongs to.

The method is GlaViTU with its strategies (Maslov et al. 2025, doi 10.1038/s41467-024-54956-x;
arXiv 2401.15113). `bands` and `tiles` tell what the networks see, `networks` are what learns,
`train` how, `predict` puts whole scenes together, `confidence` says how sure it is, `divides` parts
ice into glaciers. Nothing is imported here, so that ``import ogive`` never pays for PyTorch; the
parts that learn need the extra ``ogive[learning]``.
"""
