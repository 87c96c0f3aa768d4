"""One answer: its attempts, its retries, its hedged second call, its stream."""
