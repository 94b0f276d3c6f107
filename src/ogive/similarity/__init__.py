"""The learned similarity: samples, networks, loss, training, and the features it gives to matching.

Nothing is imported here, so that ``import ogive`` never pays for PyTorch; the parts need the extra
``ogive[learning]``.
"""
