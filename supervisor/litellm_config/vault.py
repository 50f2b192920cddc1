"""What LiteLLM's key management means for names that the environment does not know.

With a `key_management_system` LiteLLM asks that vault for `os.environ/NAME`, so a name missing from the environment is
legitimate, unless `hosted_keys` limits what is asked for. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.litellm_config.document import MapNode, Scalar, plain_value


@dataclass(frozen=True, slots=True)
class Vault:
    """`hosted` is None where the vault is asked for every name."""

    present: bool = False
    hosted: frozenset[str] | None = None

    def may_know(self, name: str) -> bool:
        return self.present and (self.hosted is None or name in self.hosted)


def vault_of(root: MapNode) -> Vault:
    """The vault that `general_settings` describes."""
    general = root.get("general_settings")
    if not isinstance(general, MapNode):
        return Vault()
    names = ("key_management_system", "use_google_kms", "use_azure_key_vault")
    nodes = (general.get(name) for name in names)
    if not any(isinstance(node, Scalar) and node.value for node in nodes):
        return Vault()
    settings = general.get("key_management_settings")
    hosted = plain_value(settings).get("hosted_keys") if isinstance(settings, MapNode) else None
    return Vault(present=True, hosted=frozenset(map(str, hosted)) if isinstance(hosted, list) else None)
