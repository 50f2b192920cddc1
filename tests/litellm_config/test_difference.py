"""What differs between two generations, told without a secret."""

import pytest

from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.difference import MOST_LINES, difference
from supervisor.observe.redact import Redactor

CONFIG = """\
model_list:
  - model_name: {name}
    litellm_params: {{model: openai/x, api_key: "{key}"}}
litellm_settings:
  num_retries: {retries}
  tags: ["${{LISTED_TOKEN}}"]
"""
ENVIRON = {"LISTED_TOKEN": "listed-5f1c07", "PROVIDER_KEY": "provider-9a31bd"}


@pytest.fixture
def build(tmp_path):
    def made(text=CONFIG, environ=ENVIRON, **values):
        plain = {"name": "gpt-4", "key": "${PROVIDER_KEY}", "retries": 1}
        (tmp_path / "c.yaml").write_text(text.format(**{**plain, **values}))
        return build_generation(tmp_path / "c.yaml", environ, tmp_path / "state")

    return made


def lines(before, after):
    redact = Redactor()
    for generation in (before, after):
        redact.learn_environment(generation.environment)
    return difference(before, after, redact)


def test_the_same_generation_differs_in_nothing(build):
    assert lines(build(), build()) == ()


def test_a_change_is_a_unified_diff_between_two_digests(build):
    before, after = build(), build(retries=3)
    shown = lines(before, after)
    assert shown[:2] == (f"--- {before.digest}", f"+++ {after.digest}")
    assert "-  num_retries: 1" in shown
    assert "+  num_retries: 3" in shown


def test_references_stay_and_a_literal_secret_shows_only_that_it_changed(build):
    shown = "\n".join(lines(build(), build(key="typed-secret-one")))
    assert "os.environ/PROVIDER_KEY" in shown
    assert "+    api_key: '*** (1)'" in shown or "+    api_key: *** (1)" in shown, shown
    shown = "\n".join(lines(build(key="typed-secret-one"), build(key="typed-secret-two")))
    assert "typed-secret" not in shown
    assert "(1)" in shown
    assert "(2)" in shown
    assert not [
        line for line in lines(build(key="same"), build(key="same", retries=2)) if "api_key" in line and line[0] in "+-"
    ]


def test_a_secret_of_several_lines_or_inside_a_mapping_is_hidden_whole(build):
    text = (
        CONFIG
        + 'general_settings:\n  database_url: "first\\nsecond-{retries}"\n  vault_token: {{deep: [inner-{retries}]}}\n'
    )
    salted = {**ENVIRON, "LITELLM_SALT_KEY": "sk-salt"}
    shown = "\n".join(lines(build(text, environ=salted), build(text, retries=2, environ=salted)))
    assert "second" not in shown
    assert "inner" not in shown
    assert "***" in shown


@pytest.mark.parametrize("name", ["x-api-key", "Ocp-Apim-Subscription-Key", "Cookie", "X-Auth", "pass", "redis_pwd"])
def test_a_header_that_carries_a_credential_is_hidden(build, name):
    headers = f"general_settings: {{{{extra_headers: {{{{{name}: s3cr3t7}}}}}}}}\n"
    assert "s3cr3t7" not in "\n".join(lines(build(), build(CONFIG + headers)))


def test_a_variable_that_was_written_into_a_list_is_told_by_its_name_when_it_changes(build):
    shown = "\n".join(lines(build(), build(environ={**ENVIRON, "LISTED_TOKEN": "listed-other-77"})))
    assert shown == "! environment: LISTED_TOKEN changed"


def test_what_was_written_into_a_list_out_of_any_variable_is_told_by_its_name(build):
    environ = {**ENVIRON, "PLAIN": "value-of-plain", "LONGER": "value-of-plain-and-more", "NO": "1"}
    shown = "\n".join(
        lines(build(), build(CONFIG + '  callbacks: ["${{LONGER}}", "x-${{PLAIN}}", "${{NO}}"]\n', environ))
    )
    assert "value-of-plain" not in shown
    assert "- ${LONGER}" in shown
    assert "- x-${PLAIN}" in shown


def test_of_the_environment_names_are_told_and_no_values(build):
    after = build(environ={**ENVIRON, "PROVIDER_KEY": "rotated-41", "NEWER": "new-value"})
    shown = lines(build(), after)
    assert shown == ("+ environment: NEWER newly set", "! environment: PROVIDER_KEY changed")


def test_a_long_difference_is_cut_and_says_so(build):
    more = "".join(f"  - model_name: m{number}\n    litellm_params: {{{{model: openai/x}}}}\n" for number in range(200))
    shown = lines(build(), build(CONFIG.replace("litellm_settings", more + "litellm_settings")))
    assert len(shown) == MOST_LINES + 1
    assert "more lines" in shown[-1]
