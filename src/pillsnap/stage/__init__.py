"""What every stage runs in: parameters, log, signals, exit code, processes."""
