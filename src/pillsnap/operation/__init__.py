"""Running the pipeline: checks before it, what will run, why it failed, whether goals are met."""
