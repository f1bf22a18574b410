# Every target does what it needs on a machine with Python 3.11+ and nothing else.
PYTHON ?= python3
BIN := .venv/bin
CXR_COHORT ?= phantom

.PHONY: install demo test test-slow ui lint bench clean

install: $(BIN)/.installed

# uv where it is there (seconds), else pip. The requirements are complete and pinned with hashes (--no-deps: ultralytics
# asks for the OpenCV that needs a screen; the headless one stands in for it). Made again with:
#   uv pip compile pyproject.toml --extra regions --extra dev --override <(echo "opencv-python ; sys_platform == 'never'") \\
#     --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --no-annotate -o .ci/requirements.txt
$(BIN)/.installed: .ci/requirements.txt pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" .venv && \
	  uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r .ci/requirements.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r .ci/requirements.txt && \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: install
	$(BIN)/cxr demo

# A worker a core, each with one thread: two threads in each would wait for one another.
test: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow

ui: install
	CXR_COHORT=$(CXR_COHORT) $(BIN)/cxr ui

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info
