"""The table of points in docs/model-server.md is whole, and is what the tests say."""

from __future__ import annotations

import ast

import ollama_table


def test_each_point_is_shown_or_left_out_and_not_both() -> None:
    shown, left_out = ollama_table.shown().keys(), ollama_table.LEFT_OUT.keys()
    assert sorted(ollama_table.POINTS) == list(range(1, 43))
    assert sorted([*shown, *left_out]) == list(range(1, 43)), "a point that is neither shown nor left out, or both"
    assert ollama_table.PARTLY.keys() <= shown


def test_the_doc_has_the_table_of_today() -> None:
    assert ollama_table.in_doc() == ollama_table.table(), "run `make ollama-table`"


def test_marks_are_on_tests_that_pytest_finds() -> None:
    for path in ollama_table.TESTS.glob("test_model_server_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(ollama_table.points(node)):
                assert node.name.startswith("test_"), f"{path.name}: {node.name} is marked and never run"
