"""The one place that ties the parts together: one pair, a region, a cluster."""
