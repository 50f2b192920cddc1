"""Whether a replica serves what its configuration names: asked of the first replica of a change, before it serves.

`GET /v1/models` calls no provider and costs nothing. Where it does not tell (another authentication in front of it, no
answer in time) nothing is held against the replica.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp

from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.named import named_models, shown


class Inventory:
    """Of one replica. `timeout` is in seconds and covers everything."""

    def __init__(self, socket_path: Path, generation: Generation, *, timeout: float) -> None:
        self._path = str(socket_path)
        self._generation = generation
        self._timeout = timeout

    async def look(self) -> str | None:
        """What is missing, or None. Never raises for a replica that does not answer."""
        named = await asyncio.to_thread(named_models, self._generation.config_text)
        listed = await self._listed() if named else None
        if listed is None or named <= listed:
            return None
        left_out = shown(named - listed)
        return f"LiteLLM leaves out {left_out}, as it does when it does not know the provider (litesup check)"

    async def _listed(self) -> frozenset[str] | None:
        key = self._generation.master_key.get_secret_value()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(self._path),
                    timeout=aiohttp.ClientTimeout(total=self._timeout),
                    trust_env=False,
                ) as session,
                session.get(
                    "http://replica/v1/models", headers={self._generation.key_header: f"Bearer {key}"}
                ) as response,
            ):
                document = await response.json() if response.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, OSError, json.JSONDecodeError):
            return None
        models = document.get("data") if isinstance(document, dict) else None
        if not isinstance(models, list):
            return None
        return frozenset(str(model.get("id")) for model in models if isinstance(model, dict))
