"""Names of the array types, once: dtype here, shape and unit in the docstring of who takes one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pixels = NDArray[np.uint8]  # [height, width, 3] RGB, or a stack of them [n, h, w, 3]
Floats = NDArray[np.floating[Any]]
Floats32 = NDArray[np.float32]  # what the models answer: logits, embeddings, scores
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
