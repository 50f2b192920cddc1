"""The codes of findings about litesup.yaml, and of those that come up when something is started or reloaded."""

from __future__ import annotations

from supervisor.errors import Severity
from supervisor.litellm_config.lint.codes import Code

SETTINGS = (
    Code(
        "settings-unreadable",
        Severity.ERROR,
        "litesup.yaml is not there, or may not be read.",
        "A file that was named has to be there; without one, defaults apply.",
        "Correct --settings or LITESUP_SETTINGS, or the file's permissions.",
        "",
    ),
    Code(
        "settings-encoding",
        Severity.ERROR,
        "litesup.yaml is not UTF-8.",
        "YAML is.",
        "Save it as UTF-8.",
        "",
    ),
    Code(
        "settings-syntax",
        Severity.ERROR,
        "litesup.yaml is not YAML.",
        "Nothing of it can be used.",
        "Mostly it is the indentation, a tab, or a quote that is not closed.",
        "",
    ),
    Code(
        "settings-not-a-mapping",
        Severity.ERROR,
        "litesup.yaml does not hold `name: value` lines.",
        "Every setting has a name.",
        "config/litesup.yaml shows each.",
        "",
    ),
    Code(
        "settings-twice",
        Severity.ERROR,
        "A setting that is given twice.",
        "YAML would keep the last of them without a word.",
        "Keep one of the two.",
        "",
    ),
    Code(
        "setting-unknown",
        Severity.ERROR,
        "There is no such setting.",
        "A misspelt one would silently leave its default in force.",
        "Correct the name; config/litesup.yaml shows each. The same goes for variables LITESUP_….",
        "",
    ),
    Code(
        "setting-invalid",
        Severity.ERROR,
        "A setting has a value that it cannot have.",
        "The finding says what it should be.",
        "Correct it. Durations are seconds, sizes bytes.",
        "",
    ),
    Code(
        "open-to-network",
        Severity.ERROR,
        "The balancer would listen beyond this machine with nobody said to be allowed.",
        "Everybody who reaches that address could use the models' keys.",
        "Set access.allow (who may connect) or access.trusted (who may come without a key).",
        "",
    ),
    Code(
        "admin-open-to-network",
        Severity.ERROR,
        "The admin port would listen beyond this machine.",
        "It knows no keys.",
        "Leave admin.host on loopback, and reach it through a tunnel.",
        "",
    ),
)

RUNNING = (
    Code(
        "listening-unguarded",
        Severity.ERROR,
        "A name in balancer.host leads beyond this machine, with nobody said to be allowed.",
        "As open-to-network; it shows only when the name is resolved.",
        "Set access.allow or access.trusted.",
        "",
    ),
    Code(
        "runtime-dir-too-long",
        Severity.ERROR,
        "The runtime directory's path is too long for the sockets in it.",
        "The kernel takes 107 bytes for the path of a socket.",
        "Choose a shorter one with --runtime-dir.",
        "",
    ),
    Code(
        "not-rendered",
        Severity.ERROR,
        "The configuration could not be written to the runtime directory.",
        "LiteLLM reads it there. What runs, runs on.",
        "Make room there, then: litesup reload.",
        "",
    ),
    Code(
        "not-read",
        Severity.ERROR,
        "Reading the configuration failed in a way that nobody foresaw.",
        "What runs, runs on.",
        "The daemon's log says where it happened.",
        "",
    ),
    Code(
        "nothing-to-go-back-to",
        Severity.ERROR,
        "No earlier good generation is kept.",
        "`litesup rollback` goes to a generation that has served everywhere, and there is none but the present one.",
        "See what is kept: litesup history.",
        "",
    ),
    Code(
        "not-kept",
        Severity.ERROR,
        "The generation that was asked for is not among those that are kept, or the name fits several.",
        "The last ten good ones are kept.",
        "See what is kept: litesup history.",
        "",
    ),
    Code(
        "kept-unusable",
        Severity.ERROR,
        "A good generation that was kept cannot be started now.",
        "It holds references, not values: a variable that it needs may be gone.",
        "Put right what the finding says, or choose another: litesup history.",
        "",
    ),
    Code(
        "no-last-good",
        Severity.NOTE,
        "There is no last good configuration to start instead of a broken one.",
        "With --last-good, a start falls back on what served before; nothing has served yet from this state directory.",
        "Correct the configuration.",
        "",
    ),
)
