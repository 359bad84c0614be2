"""The error tree is complete: every class says how it is answered, and no two answer alike."""

from __future__ import annotations

import inspect
import re
from http import HTTPStatus

import pytest

from m3 import errors
from m3.errors import M3Error, Overloaded, kind_of

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
EXIT_CODES = {1, 2, 3, 4, 70}


def test_every_class_is_in_the_tree() -> None:
    assert len(CLASSES) > 10
    assert all(issubclass(kind, M3Error) for kind in CLASSES)


def test_codes_name_one_class_each() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z0-9_]+", code) for code in codes)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not M3Error])
def test_every_error_can_be_answered(kind: type[M3Error]) -> None:
    error = kind("what happened: what to do")
    assert error.message == str(error) == "what happened: what to do"
    assert HTTPStatus(kind.status) >= HTTPStatus.BAD_REQUEST
    assert kind.exit_code in EXIT_CODES
    assert "code" in vars(kind)
    assert kind.__doc__


def test_a_bug_is_what_no_class_answers_for() -> None:
    assert (M3Error.code, M3Error.status, M3Error.exit_code) == ("internal", 500, 70)


def test_overload_says_when_to_come_back() -> None:
    assert Overloaded("full", retry_after=2.5).retry_after == 2.5


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_is_found_by_its_code(kind: type[M3Error]) -> None:
    assert kind_of(kind.code) is kind


def test_codes_of_others_are_not_ours() -> None:
    assert kind_of("teapot") is None
