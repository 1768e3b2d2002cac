"""Dagster's instance and workspace files as they ship. A package, so that they are found wherever it is installed."""
