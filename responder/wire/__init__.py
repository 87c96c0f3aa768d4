"""One request over HTTP: sent, read, bounded, cancelled, and translated into an answer's JSON or an error."""
