"""Proof that lasts: what the package promises, tried again and again; see docs/reliability.md."""

from soak import places as places  # the environment, before anything heavy is imported
