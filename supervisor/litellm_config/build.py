"""From the operator's file to a `Generation`: the order of the steps, and all the reading.

Every step works on with what it has, so that one run names all problems. Only when there is none is a master key
made. Secrets are in the environment and nowhere else; what leaves here as an error or a note never quotes a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.litellm_config import azure, env_file, environment, include, master_key, section
from supervisor.litellm_config.database import settle_schema_update
from supervisor.litellm_config.document import MapNode, Scalar, finding_at
from supervisor.litellm_config.excerpt import with_excerpt
from supervisor.litellm_config.expand import expand, resolved
from supervisor.litellm_config.files import DISK, Files, Written
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.include import absolute
from supervisor.litellm_config.installed import installed
from supervisor.litellm_config.lint import NOT_LOOKED_AT, Subject, Surroundings, lint
from supervisor.litellm_config.modules import Modules, find_modules
from supervisor.litellm_config.references import OS_ENVIRON
from supervisor.litellm_config.render import digest, fingerprint, render
from supervisor.litellm_config.tokenizers import tokenizers
from supervisor.litellm_config.vault import vault_of

ENV_FILE = ".env"


def build_generation(source: Path, environ: Mapping[str, str], state_dir: Path | None) -> Generation:
    """The generation that `source` describes in this environment.

    Reads the file, its includes, `.env` beside it, the modules that it names, and what those import from beside it.
    Where no master key is set, the one kept in `state_dir` is used, or made; without a `state_dir` a placeholder takes
    its place, which is for looking only. Raises ConfigurationRefused with every problem at once.
    """
    draft = _draft(source, environ)
    if draft.errors or draft.root is None:
        raise ConfigurationRefused(draft.shown(), draft.watched)
    try:
        return _finish(draft, draft.root, _key(draft, state_dir))
    except ConfigurationRefused as refused:
        raise ConfigurationRefused((*draft.shown(), *refused.findings), draft.watched) from None


def rebuild_generation(source: Path, written: Written, environ: Mapping[str, str], state_dir: Path) -> Generation:
    """The generation that `source` described when this was `written`, in the environment and with the `.env` of now.

    What only judges is not asked, because this has served before: the lint rules, and the state of `.env`, out of which
    whatever can be read is taken. Raises ConfigurationRefused where it cannot be made, as for a variable that is unset.
    """
    draft = _draft(source, environ, written=written)
    if draft.errors or draft.root is None:
        raise ConfigurationRefused(draft.shown(), draft.watched)
    return _finish(draft, draft.root, _key(draft, state_dir))


def examine(
    source: Path, environ: Mapping[str, str], around: Surroundings = NOT_LOOKED_AT
) -> tuple[Generation | None, tuple[Finding, ...]]:
    """What `build_generation` would make of it, and every finding, notes included. Makes and stores no key.

    `around` lets the rules about the machine have their say.
    """
    draft = _draft(source, environ, around)
    if draft.errors or draft.root is None:
        return None, draft.shown()
    try:
        return _finish(draft, draft.root, _key(draft, None)), draft.shown()
    except ConfigurationRefused as refused:
        return None, (*draft.shown(), *refused.findings)


@dataclass(slots=True)
class _Draft:
    source: Path
    root: MapNode | None = None
    environ: dict[str, str] = field(default_factory=dict, repr=False)  # what references see
    additions: dict[str, str] = field(default_factory=dict, repr=False)
    generated: dict[str, str] = field(default_factory=dict, repr=False)
    key: str | None = field(default=None, repr=False)
    migrates: bool = False
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)  # the lint rules'; nothing was changed because of them
    sources: dict[Path, str] = field(default_factory=dict, repr=False)
    watched: list[Path] = field(default_factory=list)
    modules: Modules = field(default_factory=Modules)
    files: Files = DISK

    @property
    def errors(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in (*self.findings, *self.remarks))

    def shown(self) -> tuple[Finding, ...]:
        """Errors first, then in the order of the file; each error with its line."""
        order = list(Severity)[::-1]
        found = sorted(
            dict.fromkeys((*self.findings, *self.remarks)),
            key=lambda one: (order.index(one.severity), str(one.file), one.line or 0),
        )
        return tuple(with_excerpt(finding, self.sources) for finding in found)


def _draft(
    source: Path, environ: Mapping[str, str], around: Surroundings = NOT_LOOKED_AT, written: Written | None = None
) -> _Draft:
    draft = _Draft(absolute(source), files=written or DISK)
    dotenv = draft.source.parent / ENV_FILE
    added, findings = env_file.read(dotenv, environ)
    draft.findings += [one for one in findings if written is None or one.severity is not Severity.ERROR]
    loaded = include.load(draft.source, draft.files)
    draft.findings += loaded.findings
    draft.sources = loaded.sources
    draft.watched = [*loaded.watched, dotenv]
    if loaded.root is None:
        return draft

    vault = vault_of(loaded.root)
    outside = {**added, **environ}
    moved = section.move_out(loaded.root, outside, vault)
    draft.additions = {**outside, **moved.variables}
    draft.environ = dict(draft.additions)
    expanded = expand(moved.root, draft.environ, vault)
    visible = {**draft.environ, **expanded.generated}
    adapted = azure.adapt(expanded.root, visible)
    draft.generated = {**expanded.generated, **adapted.generated}
    visible |= adapted.generated
    draft.findings += [*moved.findings, *expanded.findings, *adapted.findings]
    if written is None:
        draft.remarks += lint(Subject(adapted.root, visible, loaded.root, around))
    settled = settle_schema_update(adapted.root, visible)
    draft.migrates = settled.migrates
    draft.findings += settled.findings
    draft.root = _with_own_key(draft, settled.root, visible)
    draft.modules = find_modules(adapted.root, draft.source.parent, draft.files)
    draft.watched += draft.modules.watched
    return draft


def _with_own_key(draft: _Draft, root: MapNode, environ: Mapping[str, str]) -> MapNode:
    """Notes the operator's master key, and lets the document name the variable that a replica will find it in."""
    general = root.get("general_settings")
    node = general.get("master_key") if isinstance(general, MapNode) else None
    if not isinstance(general, MapNode) or not isinstance(node, Scalar) or node.value is None:
        _note_environments_key(draft, environ)
        return root
    value = resolved(node, environ)
    if isinstance(value, str):
        draft.key = value
    elif value is None and not draft.errors:
        message = "The master key is known to LiteLLM's key management only, and the balancer needs it too."
        draft.findings.append(
            finding_at(
                node,
                Severity.ERROR,
                "master-key-in-vault",
                message,
                hint="Set that variable in the environment of litesup as well.",
                path=("general_settings", "master_key"),
            )
        )
    reference = Scalar(OS_ENVIRON + environment.MASTER_KEY, node.place, plain=False)
    return root.with_value("general_settings", general.with_value("master_key", reference))


def _note_environments_key(draft: _Draft, environ: Mapping[str, str]) -> None:
    draft.key = environ.get(environment.MASTER_KEY)
    objection = master_key.objection_to(draft.key) if draft.key is not None else None
    if objection is not None:
        message = f"{environment.MASTER_KEY}: {objection.message}"
        draft.findings.append(Finding(objection.severity, objection.code, message, objection.hint))


def _key(draft: _Draft, state_dir: Path | None) -> SecretStr:
    if draft.key is not None:
        return SecretStr(draft.key)
    return master_key.PLACEHOLDER if state_dir is None else master_key.kept_or_made(state_dir)


def _finish(draft: _Draft, root: MapNode, key: SecretStr) -> Generation:
    secret = key.get_secret_value()
    prints: dict[str, str] = {}
    contents: dict[Path, bytes] = {}
    for file in draft.modules.files:
        try:
            contents[file] = draft.files.content(file)
            prints[file.relative_to(draft.source.parent).as_posix()] = fingerprint(secret, contents[file])
        except OSError as error:
            message = f"{file} cannot be read: {error.strerror}."
            finding = Finding(Severity.ERROR, "module-unreadable", message, "Make it readable.", file=file)
            raise ConfigurationRefused([finding]) from None
    notes = tuple(finding for finding in draft.shown() if finding.severity is not Severity.ERROR)
    # A rule's remark changes nothing, so it is not part of the text, and a better rule makes no new generation.
    remarks = frozenset(draft.remarks)
    changes = tuple(finding for finding in notes if finding not in remarks)
    text = render(root, changes, prints)
    generated = {**draft.generated, environment.LITELLM: installed()}
    if ahead := tokenizers(root):
        generated[environment.TOKENIZERS] = ahead
    full = environment.compose({}, draft.additions, generated, secret)
    return Generation(
        digest=digest(secret, text, full),
        config_text=text,
        environment=full,
        master_key=key,
        source=draft.source,
        watched=tuple(dict.fromkeys(draft.watched)),
        adaptations=tuple(one for one in notes if one.severity is Severity.WARNING or one not in remarks),
        key_header=_key_header(root),
        migrates=draft.migrates,
        written=Written(draft.sources, contents),
    )


def _key_header(root: MapNode) -> str:
    general = root.get("general_settings")
    name = general.get("litellm_key_header_name") if isinstance(general, MapNode) else None
    return name.value if isinstance(name, Scalar) and isinstance(name.value, str) and name.value else "Authorization"
