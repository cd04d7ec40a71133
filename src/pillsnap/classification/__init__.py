"""The classifier: a timm model that predicts the K-code of a crop. Only this room imports timm."""
