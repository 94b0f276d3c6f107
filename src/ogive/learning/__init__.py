"""What every learned part of ogive shares: training, splits of the data, weights, model cards.

Nothing here knows what is learned. `fit` trains any Lightning module on samples that are numbered;
`split_sources` keeps places and times apart; `save_weights` and `load_weights` keep networks in
files that cannot run code; a `ModelCard` travels inside them. PyTorch is imported by the modules
that need it only: ``pip install "ogive[learning]"``.
"""
