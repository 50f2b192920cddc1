"""The guide's own file, with one model more."""

from __future__ import annotations

from tests.daemon import GUIDE

SECOND_MODEL = """\
  - model_name: {name}
    litellm_params:
      model: gpt-4o-2024-08-06
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: ${{{variable}}}

litellm_settings:"""


def guide_and(name: str, url: str, variable: str = "AZURE_OPENAI_API_KEY") -> str:
    """The guide's file with a second model, whose key is in `variable`."""
    model = SECOND_MODEL.format(name=name, url=url, variable=variable)
    return GUIDE.format(url=url).replace("litellm_settings:", model)
