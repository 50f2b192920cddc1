"""The codes of what `litesup check --deep` finds: LiteLLM's own word about a configuration."""

from __future__ import annotations

from supervisor.errors import Severity
from supervisor.litellm_config.lint.codes import Code

DEEP = (
    Code(
        "deep-not-loaded",
        Severity.ERROR,
        "LiteLLM itself refuses to start with this configuration.",
        "Every replica would end like this, and a roll-out would be rolled back.",
        "Put right what LiteLLM names; the place is given where it could be told.",
        "",
    ),
    Code(
        "deep-model-left-out",
        Severity.ERROR,
        "LiteLLM starts without this model, because it cannot use its entry.",
        "Only its log says so; clients are told that the model does not exist.",
        "Correct the entry: mostly its provider is not known, or a value has a wrong type.",
        "",
    ),
    Code(
        "deep-model-failed",
        Severity.ERROR,
        "A request for this model fails inside LiteLLM, before a provider is asked.",
        "Every request for it would end like that.",
        "Put right what LiteLLM names: mostly a key, an address or a package is missing.",
        "",
    ),
    Code(
        "deep-retry-failed",
        Severity.ERROR,
        "When a provider fails, LiteLLM's own handling of that fails too.",
        "A number that stays a text does no harm until something has to be tried again; then clients get an error about"
        " Python's types, and neither retries nor fallbacks happen.",
        "Look at num_retries, timeouts and policies, and write numbers without quotes.",
        "",
    ),
    Code(
        "deep-reference-sent",
        Severity.ERROR,
        "A credential would be sent as the text of a reference.",
        "Nobody resolves a reference in that place, so the provider refuses it.",
        "Write ${NAME} or os.environ/NAME and nothing else, and set the variable.",
        "",
    ),
    Code(
        "deep-no-credential",
        Severity.WARNING,
        "A request to a public provider would carry no credential.",
        "It most likely answers 401. Addresses of a private network are not remarked on.",
        "Set api_key, or the provider's own variable.",
        "",
    ),
    Code(
        "deep-load-error",
        Severity.WARNING,
        "LiteLLM starts, logs an error, and goes on without something.",
        "A callback whose package is missing, for example, hears of nothing.",
        "Put right what LiteLLM names, or remove what needs it.",
        "",
    ),
    Code(
        "deep-not-checked",
        Severity.WARNING,
        "It cannot be told without a connection, or there was no time left.",
        "The check lets nothing out. A credential that comes from the machine itself cannot be had there.",
        "Ask the model itself with `litesup test` once the pool runs, or allow more with --timeout.",
        "",
    ),
    Code(
        "deep-nothing-sent",
        Severity.NOTE,
        "While loading, something wanted a connection, and got none.",
        "In a replica it will be made.",
        "See whether it should be, and whether replicas can reach it.",
        "",
    ),
    Code(
        "deep-cut",
        Severity.NOTE,
        "What of the configuration the deep check leaves out.",
        "It could only be tried by reaching for it: databases, caches, key vaults, alerts.",
        "Nothing, unless it is new: then look at the first replica's log.",
        "",
    ),
)
