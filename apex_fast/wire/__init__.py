"""The wire: messages generated from `proto/` by `make protos`, never edited by hand."""
