"""Whatever stands in a document, a rule says something or nothing: a daemon must not fail to read a file because of one."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.errors import Finding
from supervisor.litellm_config.document import MapNode, parse
from supervisor.litellm_config.lint import Subject, Surroundings, lint
from supervisor.litellm_config.lint.codes import code_named
from supervisor.litellm_config.prices import Prices

READ = {
    "router_settings": "routing_strategy fallbacks default_fallbacks model_group_alias routing_groups redis_host "
    "provider_budget_config health_check_interval retry_policy",
    "litellm_settings": "cache cache_params callbacks success_callback fallbacks context_window_fallbacks max_budget "
    "custom_provider_map default_fallbacks",
    "general_settings": "master_key database_url store_model_in_db key_management_system coordination_redis allowed_ips "
    "allow_client_side_credentials max_parallel_requests",
}
WITHIN = """
    api_base api_key api_version base_model credential_info credential_name custom_llm_provider deployment_id guardrail
    guardrail_name id litellm_credential_name litellm_params max_budget mock_response mode model model_info model_name provider
    rpm tags transport type x
"""
KEYS = st.sampled_from(WITHIN.split())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "*",
            "azure/x",
            "gpt-4o",
            "os.environ/A",
            "os.environ/B",
            "http://[",
            "https://a.openai.azure.com/x",
            "redis",
            "${A}",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=25,
)
SECTIONS = {
    **dict.fromkeys(("guardrails", "credential_list", "mcp_servers", "modle_list"), VALUES),
    **{
        name: st.dictionaries(st.sampled_from(keys.split()) | KEYS, VALUES, max_size=5) | VALUES
        for name, keys in READ.items()
    },
    "model_list": st.lists(
        st.fixed_dictionaries(
            {"model_name": SCALARS, "litellm_params": st.dictionaries(KEYS, VALUES, max_size=6) | SCALARS},
            optional={"model_info": st.dictionaries(KEYS, VALUES, max_size=3)},
        )
        | VALUES,
        max_size=4,
    ),
}
AROUND = Surroundings(replicas=3, prices=Prices({"gpt-4o": "chat", "azure/x": ""}))


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional=SECTIONS))
def test_no_document_makes_a_rule_fail(document):
    node, _ = parse(yaml.safe_dump(document), Path("c.yaml"))
    assert node is None or isinstance(node, MapNode)
    if node is not None:
        for finding in lint(Subject(node, {"A": "x"}, node, AROUND)):
            assert isinstance(finding, Finding)
            assert code_named(finding.code) is not None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a:", "  - b: 1", "  - c: [", "d: 'x", "\t", "e: *f", "g: &f 1", "  h: i: j", "", "k: }"])
    )
)
def test_a_text_that_is_not_yaml_is_refused_with_a_place_in_it(lines):
    text = "\n".join(lines)
    node, findings = parse(text, Path("c.yaml"))
    assert (node is None) <= bool(findings)
    for finding in findings:
        assert finding.line is None or 1 <= finding.line <= len(lines) + 1
