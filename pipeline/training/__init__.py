"""Training commands: each reads the corpus and writes one component's folder of weights."""
