"""The table of faults names tests that exist, and names all that make faults."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = (TESTS.parent / "docs" / "faults.md").read_text("utf-8")
ROWS = [line for line in TABLE.splitlines() if re.match(r"\| (?!fault \|)", line)]
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TABLE)
README = (TESTS.parent / "README.md").read_text("utf-8")
CODES = {130, 143, *map(int, re.findall(r"^\| (\d+) \|", README, re.MULTILINE))}


def names_in(file: Path) -> list[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]


def place_of(name: str) -> Path:
    return (TESTS / "faults" if name.startswith("test_faults_") else TESTS) / name


def test_every_row_has_four_cells_and_names_one_test() -> None:
    assert len(ROWS) == len(NAMED) > 30
    assert {len(row.strip("|").split("|")) for row in ROWS} == {4}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_a_test_that_the_table_names_exists(file: str) -> None:
    missing = {name for where, name in NAMED if where == file} - set(names_in(place_of(file)))
    assert missing == set()


@pytest.mark.parametrize("file", sorted(p.name for p in (TESTS / "faults").glob("test_*.py")))
def test_a_fault_test_is_in_the_table_and_carries_the_marker(file: str) -> None:
    there = names_in(TESTS / "faults" / file)
    assert [name for name in there if (file, name) not in NAMED] == []
    assert "pytest.mark.faults" in (TESTS / "faults" / file).read_text("utf-8")


def test_no_test_is_named_twice() -> None:
    assert sorted(set(NAMED)) == sorted(NAMED)


def test_the_exit_codes_are_those_of_the_contract() -> None:
    said = {int(code) for row in ROWS for code in re.findall(r"\b\d+\b", row.split("|")[3])}
    assert said <= CODES
    assert {0, 65, 66, 69, 70, 73, 75, 78} <= said
