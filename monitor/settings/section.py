"""What every section of the configuration is made of: immutable, strict, with lists that a variable can hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def split_list(value: Any) -> Any:
    """A list may be written as `a,b` (that is how an environment variable holds one) or as JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a list: `a,b`, or JSON") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 host is in brackets.

    >>> split_address("[::1]:9464")
    ('::1', 9464)
    """
    match = re.fullmatch(r"(\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:\[\]/]+)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError("must be host:port")
    return match["v6"] or match["host"], int(match["port"])


def _check_address(address: str) -> str:
    split_address(address)
    return address


Strings = Annotated[list[str], BeforeValidator(split_list, json_schema_input_type=list[str] | str)]
Paths = Annotated[list[Path], BeforeValidator(split_list, json_schema_input_type=list[str] | str)]
Address = Annotated[str, AfterValidator(_check_address)]
Addresses = Annotated[list[Address], BeforeValidator(split_list, json_schema_input_type=list[str] | str)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Section(BaseModel):
    """A part of the file: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: Any) -> Any:
        """`http:` with nothing below it means the defaults."""
        return {} if value is None else value
