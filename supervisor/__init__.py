"""litesup: a supervisor for a pool of LiteLLM proxies, with a built-in balancer."""
