"""The benchmarks run; how fast they are is never a test's business."""
