"""What Dagster runs: partitions, assets, checks, jobs. `assets.definitions` is the code location."""
