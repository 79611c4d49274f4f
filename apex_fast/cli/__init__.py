"""The command `apex`: a file per verb. Parses words, calls `app` or the client, prints; decides nothing."""
