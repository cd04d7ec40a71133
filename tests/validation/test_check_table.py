"""The table of checks, and the results that validation.json lists."""

from pillsnap.dataset.findings import Findings
from pillsnap.validation import check_table


def findings(*names: str) -> Findings:
    found = Findings()
    for name in names:
        found.add(name, "a.png")
    return found


def statuses(found: Findings) -> dict[str, str]:
    return {str(one["name"]): str(one["status"]) for one in check_table.results(found)}


def test_every_check_is_in_the_table_once_with_a_cure() -> None:
    names = [check.name for check in check_table.CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.cure.endswith(".") and check.meaning for check in check_table.CHECKS)


def test_an_error_fails_a_refusal_warns_and_what_was_not_run_does_not_pass() -> None:
    found = findings("group_leakage", "photo_damaged")
    status = statuses(found)
    assert [check.name for check in check_table.failed(found)] == ["group_leakage"]
    wanted = {"group_leakage": "fail", "photo_damaged": "warn", "schema": "pass"}
    assert wanted.items() <= status.items()
    status = statuses(findings("schema"))
    assert status.pop("schema") == "fail"
    assert set(status.values()) == {"warn"}
