"""What is a responder made of, and what can it do beside answering: vectors of texts, and batch jobs."""
