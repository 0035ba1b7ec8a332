"""What every service may import: contracts and rules (pure), and the client at the edge."""
