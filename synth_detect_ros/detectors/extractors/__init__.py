"""Pre-trained feature extractors: networks, weights, freezing, adapters."""
