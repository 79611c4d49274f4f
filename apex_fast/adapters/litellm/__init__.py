"""The model port over litellm: a client for the APIs of all common providers. The optional extra ``model``."""
