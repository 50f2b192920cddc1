"""`litesup check --deep`: the real LiteLLM loads the configuration and is asked once per model, and nothing leaves.

`plan` decides what is loaded and who is asked, `run` is the shell around the process, `verdict` what its reports mean.
`program` is executed in that process, with `asking` (the requests), `answers` (what the stub says) and `seal` (nothing
gets out). The reasons are in docs/decisions, "A deep check is a sealed LiteLLM".
"""
