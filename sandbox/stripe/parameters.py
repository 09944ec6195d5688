"""Reads form-encoded parameters as strictly as Stripe.

What may be sent, and of which type, is read at run time from the TypedDicts that the installed `stripe` library
publishes for every call, so the sandbox refuses a misspelt parameter with Stripe's own words.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
import typing
import urllib.parse
from typing import Any, Literal, Union

from sandbox.stripe.errors import StripeError, invalid

MOST_FIELDS = 1_000
LONGEST_TEXT = 5_000
METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 50, 40, 500
LONGEST = {
    "description": 1_000, "receipt_email": 512, "email": 512, "statement_descriptor": 22,
    "statement_descriptor_suffix": 22, "return_url": 5_000, "name": 256, "phone": 20, "client_secret": 500,
}  # fmt: skip
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


# Decoding


def decode(encoded: bytes) -> dict[str, Any]:
    """`a[b]=1&a[c]=2&l[0]=x` -> {"a": {"b": "1", "c": "2"}, "l": ["x"]}."""
    try:
        pairs = urllib.parse.parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except UnicodeDecodeError as problem:
        raise invalid("Invalid request: the parameters are not valid UTF-8 form data.") from problem
    except ValueError as problem:
        raise invalid(f"Invalid request: send at most {MOST_FIELDS} parameters.") from problem
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if "\x00" in value or "\x00" in name:
            raise invalid(
                "Invalid string: null characters are not allowed.", param=name.replace("\x00", "")[:100]
            )
        _place(tree, name, value)
    return {name: _lists(value) for name, value in tree.items()}


def _place(tree: dict[str, Any], name: str, value: str) -> None:
    head, _, _ = name.partition("[")
    path = [head, *_BRACKETS.findall(name[len(head) :])]
    if len(path) > 12:
        raise invalid("Invalid request: the parameters are nested too deeply.", param=head)
    here = tree
    for position, part in enumerate(path):
        key = str(len(here)) if part == "" and position else part
        if position == len(path) - 1:
            here[key] = value
            return
        following = here.setdefault(key, {})
        if not isinstance(following, dict):
            raise invalid("Invalid object", param="[".join(path[: position + 1]))
        here = following


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(item) for name, item in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


# What each call takes


@functools.cache
def published(name: str) -> Any:
    """The TypedDict of a call, by the library's name for it: `PaymentIntentCreateParams`."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"stripe.params._{words}"), name)


@functools.cache
def fields(typed: Any) -> dict[str, Any]:
    """Names and types that a published TypedDict allows, without the library's own request options."""
    options = importlib.import_module("stripe._request_options").RequestOptions.__annotations__
    own = {name: hint for name, hint in typed.__annotations__.items() if name not in options}
    holder = type("Holder", (), {"__annotations__": own})
    return typing.get_type_hints(holder, globalns=vars(sys.modules[typed.__module__]))


def check(values: dict[str, Any], name: str, *, extra: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Typed values, or the error Stripe would give. `extra` names what browsers may add (key, client_secret...)."""
    typed = published(name)
    known = fields(typed)
    kept = {field: value for field, value in values.items() if field in extra and field not in known}
    _refuse_unknown([field for field in values if field not in known and field not in extra], "")
    missing = [field for field in typed.__required_keys__ if field in known and field not in values]
    if missing:
        raise invalid(
            f"Missing required param: {min(missing)}.", param=min(missing), code="parameter_missing"
        )
    for field, value in values.items():
        if field in known:
            kept[field] = _convert(value, known[field], field)
    return kept


def _refuse_unknown(names: list[str], prefix: str) -> None:
    if not names:
        return
    shown = [f"{prefix}[{name}]" if prefix else name for name in sorted(names)]
    plural = "s" if len(shown) > 1 else ""
    raise StripeError(
        f"Received unknown parameter{plural}: {', '.join(shown)[:500]}",
        code="parameter_unknown", param=shown[0][:200], validation=True,
    )  # fmt: skip


def _convert(value: Any, hint: Any, param: str) -> Any:
    options = list(typing.get_args(hint)) if typing.get_origin(hint) in {Union, types.UnionType} else [hint]
    literals = [
        text for option in options if typing.get_origin(option) is Literal for text in typing.get_args(option)
    ]
    choices = [text for text in literals if text != ""]
    plain = [option for option in options if typing.get_origin(option) is not Literal]
    if value == "" and ("" in literals or (param.endswith("]") and str not in plain)):
        return ""
    if isinstance(value, dict):
        return _convert_object(value, plain, param)
    if isinstance(value, list):
        return _convert_list(value, plain, param)
    if value == "" and not (choices or plain == [str]):
        raise _empty(param)
    if choices:
        return _convert_choice(value, choices, plain, param)
    if bool in plain and value in {"true", "false"}:
        return value == "true"
    if int in plain and _is_integer(value):
        return int(value)
    if float in plain:
        try:
            return float(value)
        except ValueError as problem:
            raise invalid(f"Invalid number: {value[:100]}", param=param) from problem
    if str in plain:
        return _text(value, param)
    if int in plain:
        raise invalid(f"Invalid integer: {value[:100]}", param=param, code="parameter_invalid_integer")
    if bool in plain:
        raise invalid(f"Invalid boolean: {value[:100]}", param=param)
    if any(typing.get_origin(option) is list for option in plain):
        raise invalid("Invalid array", param=param)
    raise invalid("Invalid object", param=param)


def _is_integer(value: str) -> bool:
    """Whole numbers that fit 64 bits, as Stripe's integers do."""
    return _INTEGER.fullmatch(value) is not None and -(2**63) <= int(value) < 2**63


def _convert_object(value: dict[str, Any], plain: list[Any], param: str) -> dict[str, Any]:
    for option in plain:
        if hasattr(option, "__required_keys__"):  # a TypedDict, of typing or typing_extensions
            known = fields(option)
            _refuse_unknown([name for name in value if name not in known], param)
            missing = [name for name in option.__required_keys__ if name in known and name not in value]
            if missing:
                name = f"{param}[{min(missing)}]"
                raise invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
            return {name: _convert(item, known[name], f"{param}[{name}]") for name, item in value.items()}
        if typing.get_origin(option) is dict:
            return _free(value, param)
    raise invalid(f"Invalid {_word(plain)}", param=param)


def _free(value: dict[str, Any], param: str) -> dict[str, str]:
    if any(not isinstance(item, str) for item in value.values()):
        raise invalid("Invalid string: values of this object must be texts.", param=param)
    return value


def _convert_list(value: list[Any], plain: list[Any], param: str) -> Any:
    for option in plain:
        if typing.get_origin(option) is list:
            (item_hint,) = typing.get_args(option)
            return [_convert(item, item_hint, f"{param}[{index}]") for index, item in enumerate(value)]
        if typing.get_origin(option) is dict:  # metadata whose keys are all digits
            return _free({str(index): item for index, item in enumerate(value)}, param)
    raise invalid("Invalid string", param=param)


def _word(plain: list[Any]) -> str:
    if any(typing.get_origin(option) is list for option in plain):
        return "array"
    return "integer" if int in plain else "boolean" if bool in plain else "string"


def _convert_choice(value: str, choices: list[str], plain: list[Any], param: str) -> Any:
    if value in choices:
        return value
    if bool in plain and value in {"true", "false"}:
        return value == "true"
    if int in plain and _is_integer(value):
        return int(value)
    listed = choices[0] if len(choices) == 1 else f"one of {', '.join(choices[:-1])}, or {choices[-1]}"
    raise invalid(f"Invalid {param}: must be {listed[:400]}", param=param)


def _empty(param: str) -> StripeError:
    return invalid(
        f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{param}' cannot be unset. You should remove '{param}' from your request or supply a non-empty "
        "value.",
        param=param,
        code="parameter_invalid_empty",
    )


def _text(value: str, param: str) -> str:
    longest = LONGEST.get(param.rpartition("[")[2].rstrip("]"), LONGEST_TEXT)
    if len(value) > longest:
        raise invalid(
            f"Invalid string: {value[:10]}...{value[-4:]}; must be at most {longest} characters", param=param,
            code="parameter_invalid_string",
        )  # fmt: skip
    return value


def merge_metadata(old: dict[str, str], new: dict[str, str] | str | None) -> dict[str, str]:
    """Stripe's rules: keys are added or replaced, an empty value removes one, an empty text removes all."""
    if new is None:
        return old
    if new == "":
        return {}
    if not isinstance(new, dict):
        raise invalid("Invalid object", param="metadata")
    merged = dict(old)
    for key, value in new.items():
        if len(key) > METADATA_KEY_LENGTH:
            raise invalid(
                f"Metadata keys can have up to {METADATA_KEY_LENGTH} characters, but you passed in one that is "
                f"{len(key)} characters. Invalid key: {key[:METADATA_KEY_LENGTH]}...",
                param="metadata",
            )
        if len(value) > METADATA_VALUE_LENGTH:
            raise invalid(
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters, but you passed in a value that "
                f"is {len(value)} characters. Invalid value: {value[:40]}...",
                param="metadata",
            )
        if value == "":
            merged.pop(key, None)
        else:
            merged[key] = value
    if len(merged) > METADATA_KEYS:
        raise invalid(
            f"Metadata can have up to {METADATA_KEYS} keys, but this has {len(merged)}.", param="metadata"
        )
    return merged
