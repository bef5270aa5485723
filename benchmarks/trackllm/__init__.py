"""Study of real endpoints' first-token log-probabilities, recorded hourly by TrackLLM: docs/studies/trackllm.md."""
