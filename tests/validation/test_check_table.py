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


def test_an_error_fails_and_a_refusal_only_warns() -> None:
    found = findings("group_leakage", "photo_damaged")
    status = statuses(found)
    assert [check.name for check in check_table.failed(found)] == ["group_leakage"]
    assert status["group_leakage"] == "fail"
    assert status["photo_damaged"] == "warn"
    assert status["schema"] == "pass"


def test_checks_that_were_not_run_do_not_pass() -> None:
    status = statuses(findings("schema"))
    assert status.pop("schema") == "fail"
    assert set(status.values()) == {"warn"}
