"""Which tokenizers the models of a configuration need beside the one that LiteLLM always loads. Pure.

LiteLLM counts the tokens of a stream itself where its provider does not, as Azure's does unless asked, and loads the
tokenizer of that model then: 0.3 s in the middle of an answer, and 67 MB in each replica. A fork server that knows the
models loads it once for all of them, with 39 MB. To err costs as much as loading it here for nothing, or there after
all; so the names of OpenAI's models are enough, and nobody asks what LiteLLM makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from supervisor.litellm_config.document import ListNode, MapNode, Scalar

O200K = "o200k_base"
_O200K_MODELS = re.compile(r"(^|[^a-z0-9])((chat)?gpt-?4o|gpt-?4\.[15]|gpt-?5|o[134]($|-))")


def tokenizers(root: MapNode) -> str:
    """Their names as tiktoken has them, with commas between; "" for none."""
    return O200K if any(_O200K_MODELS.search(name.lower()) for name in _models(root)) else ""


def _models(root: MapNode) -> Iterator[str]:
    """What each deployment says that its model is."""
    deployments = root.get("model_list")
    for deployment in deployments.items if isinstance(deployments, ListNode) else ():
        if not isinstance(deployment, MapNode):
            continue
        for section, key in (
            ("litellm_params", "model"),
            ("litellm_params", "base_model"),
            ("model_info", "base_model"),
        ):
            said = deployment.get(section)
            value = said.get(key) if isinstance(said, MapNode) else None
            if isinstance(value, Scalar) and isinstance(value.value, str):
                yield value.value
