"""The outside world behind small typed doors: settings, storage, the separator with its models loaded."""
