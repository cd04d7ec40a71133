"""Sets of labelled photos in the forms of other tools, and the fingerprint of a set in any form."""
