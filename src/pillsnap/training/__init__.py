"""What both trainings share: checkpoints, devices, processes, the record of epochs."""
