.DEFAULT_GOAL := help
.PHONY: help setup run test kernels bench lint bpf dashboards image image-test clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 17

setup: ## install and build everything, run nothing; the program is .venv/bin/obi
	@tools/setup run test lint

run: ## show what this machine does, live, by process (ARGS="--interval 2s")
	@tools/setup run
	@.venv/bin/obi run $(ARGS)

test: ## run the tests (ARGS="tests/unit -k name"; OBI_KERNEL=off|auto|require)
	@tools/setup run test
	@.venv/bin/python -m pytest $(ARGS)

kernels: ## boot each Debian kernel of the matrix, run the probes' tests there, and write docs/kernels.md (an hour; ARGS="--full" is more, "--quick --only 6.1" less)
	@tools/setup run test
	@.venv/bin/python tests/kernels --write $(ARGS)

bench: ## what the agent costs, beside its targets (ARGS="--rounds 2 --idle 10" is quick; ARGS="--json FILE")
	@tools/setup run
	@.venv/bin/python tests/bench $(ARGS)

lint: ## ruff, mypy, clang-format, shellcheck, yamllint, hadolint
	@tools/setup lint
	@tools/lint

dashboards: ## write dashboards/*.json anew, of their sources beside them and the probes' catalogues
	@tools/setup run test
	@.venv/bin/python -m dashboards

image: ## build the container image, asking no registry (TARGET=bcc: the variant with BCC; BASE=IMAGE: on a base that is pulled)
	@tools/setup image
	@tools/image $(ARGS)

image-test: image ## run that image with the manifests' rights and mounts, and see every probe attach
	@tools/setup run test
	@OBI_IMAGE=require .venv/bin/python -m pytest tests/deploy/test_image.py $(ARGS)

bpf: ## rebuild the BPF objects whose sources have changed
	@tools/setup run

clean: ## remove whatever the other targets made in this tree
	@find bpf obi_core plugins tests \( -name '*.bpf.o' -o -name '*.bcc.c' \) -delete
	@find bpf dashboards obi_core plugins tests tools -name __pycache__ -prune -exec rm -r {} +
	@rm -rf .venv .venv-unfinished .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
