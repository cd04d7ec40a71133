"""The imprint of a pill: read by an OCR model, compared with what the register records."""
