"""Who keeps the ports' promises: a folder per technology, the same file names in each. Only `app` names them."""
