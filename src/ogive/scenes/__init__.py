"""Which scenes there are, how they saw the ground, and their bands on a grid."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
