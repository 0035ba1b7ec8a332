"""One thin class per door: a method is one transaction or one outside call, safe to run twice."""
