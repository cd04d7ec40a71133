"""Stage evaluate: metrics, plots and reports of both models on frames never trained on."""
