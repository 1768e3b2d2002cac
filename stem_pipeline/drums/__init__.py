"""Taking a drums stem apart into kick, snare, cymbals and toms."""
