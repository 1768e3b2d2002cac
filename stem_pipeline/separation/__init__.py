"""From a mixture to stems that add up to it: segments, overlap-add, rate conversion, consistency, and the models."""
