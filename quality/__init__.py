"""Is it right? Checks, metrics, verification, pictures. Imports resources and stem_pipeline, never assets or api."""
