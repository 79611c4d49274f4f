"""A model that is played from a file: for demos, and for tests of workflows that ask a model."""
