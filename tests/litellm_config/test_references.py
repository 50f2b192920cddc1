"""The grammar, and that it says the same in both directions."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.litellm_config.references import (
    MalformedReferenceError,
    Reference,
    Template,
    choose,
    litellm_reference,
    parse,
    text_of,
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
# A dollar sign just before a reference would read as its escape, and a brace would end a default: neither can be written.
LITERALS = st.text(min_size=1, max_size=12).filter(lambda text: not text.endswith("$") and "}" not in text)


def joined(parts: list[str | Reference]) -> Template:
    """Adjacent literals as one, as `parse` gives them."""
    template: list[str | Reference] = []
    for part in parts:
        last = template[-1] if template else None
        if isinstance(part, str) and isinstance(last, str):
            template[-1] = last + part
        else:
            template.append(part)
    return tuple(template)


def templates(references: st.SearchStrategy[Reference]) -> st.SearchStrategy[Template]:
    return st.lists(LITERALS | references, max_size=4).map(joined)


REFERENCES = st.recursive(
    st.builds(Reference, NAMES), lambda inner: st.builds(Reference, NAMES, templates(inner)), max_leaves=6
)


@given(templates(REFERENCES))
def test_a_template_reads_back_from_its_own_text(template):
    assert parse(text_of(template)) == template


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused_and_never_breaks(text):
    try:
        template = parse(text)
    except MalformedReferenceError:
        assert "${" in text
    else:
        if "${" not in text:
            assert template == ((text,) if text else ())


@given(templates(REFERENCES), st.dictionaries(NAMES, st.text(max_size=5)))
def test_choosing_leaves_no_default_and_names_exactly_what_is_missing(template, environ):
    chosen = choose(template, environ.get)
    names = [part.name for part in chosen.parts if isinstance(part, Reference)]
    assert all(part.default is None for part in chosen.parts if isinstance(part, Reference))
    assert set(chosen.unset) == {name for name in names if name not in environ}


def test_only_a_whole_value_is_litellms_reference():
    assert litellm_reference("os.environ/A") == "A"
    assert litellm_reference("x os.environ/A") is None
    assert litellm_reference("os.environ/oidc/google/aud") is None
