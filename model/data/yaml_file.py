"""YAML files that a person writes: read into a type, with errors that name the line or the key."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from model.errors import DataError

Content = TypeVar("Content", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key that occurs twice, which YAML's rules forbid and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node; raises YAMLError for a key that occurs twice."""
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.MarkedYAMLError(
                    problem=f"{key!r} occurs twice", problem_mark=node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, content_type: type[Content]) -> Content:
    """Return what a file says, as this type; an empty file says nothing. Raises DataError."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - derived from SafeLoader
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}") from error
    try:
        return content_type.model_validate({} if raw is None else raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
        if first["type"] in {"tuple_type", "list_type"}:
            raise DataError(f"{path}: {where}: give a list, such as [{first['input']}]") from error
        hint = "; put it in quotes if it is meant as text" if first["type"] == "string_type" else ""
        raise DataError(f"{path}: {where}: {first['msg']}{hint}") from error
