"""Other people's systems and files, read through adapters; they know contracts and rules only."""
