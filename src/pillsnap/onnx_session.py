"""Sessions of onnxruntime for graphs on the CPU, opened in one way."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort


def open_graph(content: bytes, num_threads: int) -> "ort.InferenceSession":
    """A session of a graph's bytes with so many threads (0: one per core), which do not spin while
    idle. onnxruntime's errors for what is no graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
