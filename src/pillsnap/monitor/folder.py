"""The files of one artifacts/<scale>/ folder, followed as they change."""

from pathlib import Path

from pillsnap.monitor.events import EventReader
from pillsnap.monitor.state import State, fold
from pillsnap.monitor.summaries import ArtifactFiles


class Folder:
    """Events folded into `state`; the stages' JSON files as `files`."""

    def __init__(self, artifacts_dir: Path) -> None:
        self.events = EventReader(artifacts_dir / "live" / "events.jsonl")
        self.files = ArtifactFiles(artifacts_dir)
        self.state = State()

    def read(self) -> bool:
        """Fold in the next chunk of events; whether there are more. OSError passes."""
        batch = self.events.read()
        self.state = fold(State() if batch.restarted else self.state, batch.events)
        return batch.more
