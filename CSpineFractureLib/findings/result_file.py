"""``result.json``: a StudyResult on disk, validated against its JSON schema on write and on read."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.study_result import SCHEMA, StudyResult
from CSpineFractureLib.resources import resource_path


def write_result(result: StudyResult, path: str | Path) -> None:
    """Write ``result`` as JSON (UTF-8); the file is whole or absent.

    Raises ``ValueError`` when the result breaks its own schema (a fault of the program, not of the user) and
    ``UserError`` when the file cannot be written.
    """
    document = result.to_dict()
    fault = first_fault(document)
    if fault:
        message = f"The result does not follow {SCHEMA}: {fault}."
        raise ValueError(message)
    write_text_atomically(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_result(path: str | Path) -> StudyResult:
    """Read a ``result.json``. Raises ``UserError`` when it is missing, not JSON, or not a valid result."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} could not be read ({error.strerror or error}): name the result.json of a finished run."
        raise UserError(message) from error
    except ValueError as error:
        message = f"{path} is not a JSON file ({error}): name the result.json of a finished run."
        raise UserError(message) from error
    fault = first_fault(document)
    if fault:
        message = f"{path} is not a valid {SCHEMA} file ({fault}): run the study again to write a new one."
        raise UserError(message)
    return StudyResult.from_dict(document)


def first_fault(document: Any) -> str | None:
    """The first place where a JSON document breaks the schema, in words, or ``None``."""
    if not isinstance(document, dict):
        return "it is not a JSON object"
    if document.get("schema") != SCHEMA:
        return f"its schema is {document.get('schema')!r}, not {SCHEMA!r}"
    fault = min(_validator().iter_errors(document), key=lambda error: [str(part) for part in error.path], default=None)
    if fault is None:
        return None
    place = "/".join(str(part) for part in fault.absolute_path) or "the document"
    return f"{place}: {_shortened(fault.message)}"


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # imported late: it takes a tenth of a second

    schema = json.loads(resource_path("Schemas/cspine-result-1.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _shortened(text: str, limit: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
