"""What a song is before anything is done to it: loudness and peaks, tempo and beats, key.

Belongs here: measuring, in one pass over blocks, with numpy, scipy and soxr. Does not belong here: decoding files,
separating, deciding whether a result is good enough.
"""
