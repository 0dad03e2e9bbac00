"""The command `popularity`: what models that others trained know, from the logs of lm-evaluation-harness."""
