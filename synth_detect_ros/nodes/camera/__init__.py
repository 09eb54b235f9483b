"""What a live camera sends: received as it is offered, and nothing of it taken on trust."""
