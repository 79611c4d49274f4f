"""The default: every port on the local disk, nothing to install."""
