# Everything is set up inside the checkout: .venv and build/. `make help` lists the targets.

PORT ?= 5000
# The first Python on PATH that is new enough; `make test PYTHON=/path/to/python` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -E -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
# Settings of another project or environment, or that would install somewhere else.
export PIP_USER := 0
unexport FLASK_APP PYTHONHOME PIP_CONSTRAINT PIP_DRY_RUN PIP_PREFIX PIP_PYTHON PIP_REQUIRE_HASHES \
  PIP_ROOT PIP_TARGET UV_CONSTRAINT UV_OVERRIDE UV_REQUIRE_HASHES

# Caches are at home, or here where nobody may write there.
ifneq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; \
  mkdir -p "$$cache" 2>/dev/null && [ -w "$$cache" ] && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/build/cache
endif

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
DEMO := build/demo/my-flask-app
BENCH := build/bench
TEMPLATE := {{cookiecutter.project_slug}}
LIBRARY := flask-coherent-cache
# How much the proofs do in `make test-all`.
AT_LENGTH := PROOF_REQUESTS=$${PROOF_REQUESTS:-10000} PROOF_VALUES=$${PROOF_VALUES:-3000} PROOF_WRITES=$${PROOF_WRITES:-400}
# Pytest's exit code where ARGS chooses no test.
OR_NONE = $(if $(ARGS),|| [ $$? = 5 ])
MINUTES ?= 10
# Its own make, with this interpreter.
library = $(MAKE) -C $(LIBRARY) PYTHON="$(abspath $(BIN)/python)"

# In a folder, by an interpreter. Without uv, pip. Either takes exactly the files whose hashes are in the lock.
ifdef UV
make_venv = '$(UV)' venv --quiet $(3) --no-python-downloads --python "$$(command -v "$(2)")" $(1)
install = '$(UV)' pip install --quiet --python $(1)/bin/python --require-hashes --requirement
else
make_venv = "$(2)" -m venv $(3) $(1)
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check \
	--require-hashes --requirement
endif

# The environment knows the folder and the Python that it was made for. It is made anew if either has
# changed, if PYTHON= names another version, or if it was made by uv, which is gone. One that VENV=
# or a link names is its owner's: it is never cleared, and finds modules where PYTHONPATH says.
MADE_FOR := -I -c 'import importlib.machinery as m, os; print(m.EXTENSION_SUFFIXES[0], os.getcwdb())'
ifeq ($(origin VENV)$(shell [ ! -L $(VENV) ] || echo ' link'),file)
export PYTHONPATH :=
MADE := $(VENV)/.made-for
STALE := $(firstword $(shell { [ -s $(VENV)/.made-for ] || echo FORCE; \
	for python in $(BIN)/python $(if $(findstring command,$(origin PYTHON)),"$(PYTHON)"); do \
		[ "$$("$$python" $(MADE_FOR))" = "$$(cat $(VENV)/.made-for)" ] || echo FORCE; done; \
	$(if $(UV),,$(BIN)/python -I -c 'import pip' || echo FORCE;) } 2>/dev/null))
else
MADE := $(BIN)/python
endif
FORCE:

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo bake test test-all explore bench lint format lock release-cache check-release clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; \
	do printf '  make %-13s %s\n' "$$name" "$$text"; done

demo: bake ## Generate a project in build/demo and serve it on port 5000 (PORT= moves it)
	@echo 'Starting the shop on http://127.0.0.1:$(PORT): sign in as demo with the password demo-shop.' \
		'Ctrl+C stops it.'
	$(MAKE) -C $(DEMO) dev PORT=$(PORT) PYTHON="$(abspath $(BIN)/python)"

bake: $(VENV)/.bake ## Generate a project in build/demo
	@mkdir -p build
	$(BIN)/python -m cookiecutter . --no-input --overwrite-if-exists --config-file tests/cookiecutter.yaml \
		--output-dir build/demo > build/bake.log 2>&1 || { cat build/bake.log; exit 1; }

# Where ARGS chooses, it may choose no test of one of the two.
test: $(VENV)/.dev ## Run the library's tests and the template's, the long ones left out (ARGS= goes to pytest)
	$(library) test
	$(BIN)/python -m pytest -m 'not long and not docker' --ignore tests/proofs $(ARGS) $(OR_NONE)

test-all: test ## Run the long tests, too: proofs at length, Docker, projects of many answers
	$(library) extensions proofs
	$(BIN)/python -m pytest -m 'long or docker' $(ARGS) $(OR_NONE)
	$(AT_LENGTH) $(BIN)/python -m pytest -m 'not long' tests/proofs $(ARGS) $(OR_NONE)

explore: $(VENV)/.dev ## Draw anew what the tests draw at random, for so many minutes (MINUTES=10)
	$(library) explore MINUTES=$$(($(MINUTES) * 2 / 3))
	$(BIN)/python $(LIBRARY)/tests/explore.py $$(($(MINUTES) / 3)) tests/proofs/test_hostile.py tests/proofs/test_stored_bytes.py

bench: bake $(BENCH)/.installed ## Measure beside stock Flask-Caching and others, some minutes (ARGS=--quick: seconds)
	$(BENCH)/bin/python benchmarks/bench.py $(DEMO) $(ARGS)

lint: $(VENV)/.dev ## Check the sources of the template and of the library
	$(BIN)/python -m pre_commit run --all-files
	$(library) lint

format: $(VENV)/.dev ## Format the sources of the template and of the library
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .
	$(library) format

# Extras stay: a pip before 23.3 takes a pin without its extra for no pin of `name[extra]`.
compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --custom-compile-command 'make lock' $(UPGRADE)

lock: $(VENV)/.dev ## Renew requirements/*.txt from pyproject.toml (UPGRADE=--upgrade: all to the newest)
	$(compile) --group dev --output-file requirements/dev.txt
	$(compile) --group bake --constraint requirements/dev.txt --output-file requirements/bake.txt
	@mkdir -p build
	@sed -n '/==/s/ *\\$$//p' '$(TEMPLATE)/requirements/dev.txt' > build/constraints.txt
	$(compile) --group bench --constraint build/constraints.txt --output-file requirements/bench.txt
	@$(library) --no-print-directory lock UV="$(abspath $(BIN))/uv" ARGS='$(UPGRADE)'

# The same version has the same contents. REPLACE=0.3.0 replaces a wheel that nobody has yet.
release-cache: $(VENV)/.dev ## Ship the wheel of flask-coherent-cache/ in generated projects, and renew all locks
	$(BIN)/python tools/vendoring.py release $(if $(REPLACE),--replace '$(REPLACE)')
	$(MAKE) lock

check-release: $(VENV)/.dev ## Check that the shipped wheel is that of flask-coherent-cache/
	$(BIN)/python tools/vendoring.py released

clean: ## Remove what the other targets made
	rm -rf $(VENV) build $(addprefix $(LIBRARY)/,$(VENV) .venv-extensions build)

$(MADE): $(STALE)
	@test -n '$(PYTHON)' || { \
		echo 'Python 3.11 or newer is needed, and none is on PATH.' \
			'Install one, or name one: make PYTHON=/path/to/python'; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed, and $(PYTHON) is not:' \
			"$$("$(PYTHON)" --version 2>&1)"; exit 1; }
	@test -n '$(UV)' || "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) comes without its venv module.' \
			'On Debian and Ubuntu: apt install python3-venv. Or install uv.'; exit 1; }
	@$(call make_venv,$(VENV),$(PYTHON),$(if $(STALE),--clear))
	$(if $(STALE),@$(BIN)/python $(MADE_FOR) > $@)

# `bake` is part of `dev`: whoever has installed that needs no second installation.
$(VENV)/.bake: $(MADE) requirements/bake.txt
	@test -e $(VENV)/.dev || { echo 'Installing cookiecutter into $(VENV).'; \
		$(call install,$(VENV)) requirements/bake.txt; }
	@touch $@

$(VENV)/.dev: $(MADE) requirements/dev.txt
	@echo 'Installing what the tests need into $(VENV).'
	$(call install,$(VENV)) requirements/dev.txt
	@touch $@

# An environment of a generated project, and what is measured beside it.
$(BENCH)/.installed: $(MADE) requirements/bench.txt $(TEMPLATE)/requirements/dev.txt
	@echo 'Installing what is measured into $(BENCH).'
	@mkdir -p build
	@$(call make_venv,$(BENCH),$(BIN)/python,--clear)
	# From the project's folder: its lock names the wheel of the cache by a path in it.
	cd '$(TEMPLATE)' && $(call install,"$(CURDIR)/$(BENCH)") requirements/dev.txt
	$(call install,$(BENCH)) requirements/bench.txt
	@touch $@
