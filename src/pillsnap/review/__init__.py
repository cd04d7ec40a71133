"""Review of labels: suspects on an HTML sheet, and the corrections that come back."""
