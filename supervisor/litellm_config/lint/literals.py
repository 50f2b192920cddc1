"""The rule about secrets that stand in the file itself.

It looks at what the operator wrote, before anything is resolved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from supervisor.errors import Severity
from supervisor.litellm_config import references
from supervisor.litellm_config.document import MapNode, Node, Path_, Scalar, scalars
from supervisor.litellm_config.lint.rule import Remark, Subject, rule
from supervisor.secret_names import names_a_secret

# Words that people write where a key is demanded and none is needed; and ways to say where it is.
_PLACEHOLDER = re.compile(
    r"sk-1234|(sk-)?(not-?(used|needed|required)|none|null|no-?key|dummy|fake|test|any(thing)?|empty|ignored|placeholder|ollama|"
    r"lm-studio|x+|-+)([-_ ]?(api)?[-_ ]?key)?|<.*>|your[-_ ].*|oidc/.*",
    re.IGNORECASE | re.DOTALL,
)
# Keys that only sound like secrets.
_NO_SECRET = re.compile(
    r"(_header|_header_name|_name|_names|_alias|_type|_file|_path|_pattern|_ttl|_url|_env|_ref|_version|_settings|_params|"
    r"_management_system)$|^(key|cache_key|tokens?|hash_key|partition_key|sort_key)$",
    re.IGNORECASE,
)
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[^/@\s:]*:(?P<password>[^/@\s]+)@", re.IGNORECASE)
_SHAPED = re.compile(
    r"(?:^|[\s:])(sk-[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|xox[bap]-[\w-]{10,})"
)
_BEARER = re.compile(r"\s*(Bearer|Basic)\s+\S{8,}", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]+")
# Where a secret is kept is none.
_FILE = re.compile(r"(~|\.{1,2})?/\S+|\S+\.(json|pem|key|txt)")


@rule(
    "literal-secret",
    Severity.WARNING,
    "A secret that is written into the file.",
    example="model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-0123456789abcdef}}]\n",
    step="Put it into the environment, or into .env beside the configuration, and write ${NAME} here.",
)
def literal_secret(subject: Subject) -> Iterator[Remark]:
    """Configurations are copied, committed and sent by mail; secrets should not be. What is found is named by its
    path and never shown. Where a key is demanded and none is needed, `none`, `dummy` or `not-used` says so."""
    if subject.written is None:
        return
    for path, scalar in scalars(subject.written):
        if isinstance(scalar.value, str) and _is_secret(scalar.value, path) and not _is_mocked(subject.written, path):
            name = str(next((step for step in reversed(path) if isinstance(step, str)), "value"))
            variable = re.sub(r"\W", "_", name).upper()
            message = f"The value of `{name}` is a secret that stands in the file."
            hint = f"Set a variable for it, in the environment or in .env, and write ${{{variable}}} here."
            yield Remark(scalar, message, hint, path)


def _is_secret(text: str, path: Path_) -> bool:
    literal = _literal(text)
    if not literal or _PLACEHOLDER.fullmatch(literal) or _FILE.fullmatch(literal):
        return False
    password = _WITH_PASSWORD.search(text)
    if password is not None:
        return _literal(password["password"]) != "" and not _PLACEHOLDER.fullmatch(password["password"])
    if _SHAPED.search(literal) or _BEARER.fullmatch(literal):
        return True
    name = str(path[-1])
    if not _NAME.fullmatch(name) or "model_group_alias" in path:
        return False  # a name of the operator's own
    return names_a_secret(name) and not _NO_SECRET.search(name) and "://" not in literal


def _literal(text: str) -> str:
    """What is left of a value where nothing refers to a variable; empty where all of it does.

    A default counts: `${KEY:-sk-…}` is a secret in the file as well.
    """
    try:
        parts = references.parse(text)
    except references.MalformedReferenceError:
        return ""
    if len(parts) == 1 and isinstance(parts[0], references.Reference):
        default = parts[0].default
        return _literal(references.text_of(default)) if default else ""
    if any(isinstance(part, references.Reference) for part in parts):
        return ""
    literal = "".join(part for part in parts if isinstance(part, str))
    # Some parts of LiteLLM look for its references inside a text as well.
    return "" if references.OS_ENVIRON in literal or literal.startswith("oidc/") else literal


def _is_mocked(root: MapNode, path: Path_) -> bool:
    """Whether it belongs to a model that never asks a provider."""
    node: Node = root
    for step in path[:-1]:
        if isinstance(node, MapNode) and isinstance(step, str):
            found = node.get(step)
        else:
            items = getattr(node, "items", ())
            found = items[step] if isinstance(step, int) and isinstance(items, tuple) and step < len(items) else None
        if found is None:
            return False
        node = found
    return isinstance(node, MapNode) and isinstance(node.get("mock_response"), Scalar)
