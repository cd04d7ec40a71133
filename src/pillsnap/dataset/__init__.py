"""What the stages hand on: manifests, crops, frames, the grammar of names, pixels."""
