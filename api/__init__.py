"""The ways in: the command line, and later HTTP. Starts without torch, librosa, Great Expectations, MLflow or Dagster."""
