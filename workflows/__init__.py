"""One file per lifecycle: what happens, and when. Deterministic; money moves behind the doors."""
