"""The contract suite, one idea per module; `obi_core.testing.contract.ProbeContract` puts them together."""
