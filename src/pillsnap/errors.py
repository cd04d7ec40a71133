"""Errors that a user can fix: each names the fact (file, value) and the cure."""


class UserError(Exception):
    """The user's input, data or machine is at fault: one screen, no traceback, exit code 1.

    `fact` names the place and the value; `cure` says what to do, with a command or key.
    """

    def __init__(self, fact: str, cure: str) -> None:
        super().__init__(f"{fact}\n{cure}")
        self.fact = fact
        self.cure = cure


class ParameterError(UserError):
    """params.yaml holds a value or a key that cannot be used."""


class UsageError(ParameterError):
    """Options of a command contradict each other or have no such value: exit code 2."""


class DataError(UserError):
    """Photos, labels or files made from them are missing, broken or contradictory."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, foreign or belongs to another class table."""


class MachineError(UserError):
    """The machine lacks something the work needs: a device, memory, disk, a library."""


def reason_of(problem: Exception) -> str:
    """An exception of another library in one line of at most 200 characters, never empty."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
