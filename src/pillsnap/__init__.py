"""PillSnap: find pills in photos and predict their K-codes."""

import os

# Read by libgomp when torch is imported. Its threads spin while they wait for each other, 300,000
# times by default, which slows a training down beside any busy process (docs/performance.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
