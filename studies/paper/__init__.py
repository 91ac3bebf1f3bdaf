"""The paper as a study: facts, run, claims, page. The only place that knows the paper."""
