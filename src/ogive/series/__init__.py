"""What the ice did in time: inversion of displacement networks, annual means, trends."""
