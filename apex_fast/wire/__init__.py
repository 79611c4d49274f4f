"""The wire in Python: messages generated from `proto/` by `make protos`. Never edited by hand."""
