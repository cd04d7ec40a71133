"""The data set that the stages share: manifests, crops, frames, file names, pixels."""
